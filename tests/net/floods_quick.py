"""The floods of tools/pktgen in the tier net: one of them in the quick form, all in the long one; tools/pktgen/run runs any."""
from floods import RECIPES, flood

QUICK = "stray"
CHECKS = [{**flood(QUICK, 4), "long_words": f"{len(RECIPES) - 1} floods more"}]
CHECKS += [{**flood(name, 10), "long_only": True} for name in RECIPES if name != QUICK]
