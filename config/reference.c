/* The reference page, from the table of keys. */
#include "keys.h"

#include <stdlib.h>

char *config_reference(void)
{
    return config_dup("");
}
