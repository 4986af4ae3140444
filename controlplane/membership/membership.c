#include "membership.h"
