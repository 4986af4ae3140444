#include "etcd.h"
