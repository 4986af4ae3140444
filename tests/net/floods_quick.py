"""Of the floods of tools/pktgen the one that the quick form runs: every other is a command of its own (tools/pktgen/run)."""
from floods import flood

CHECKS = [{**flood("stray", 4), "long_words": "the other floods", "long_command": "sudo tools/pktgen/run"}]
