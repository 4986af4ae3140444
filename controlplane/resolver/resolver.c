#include "resolver.h"
