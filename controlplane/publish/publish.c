#include "publish.h"
