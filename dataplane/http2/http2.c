#include "http2.h"
