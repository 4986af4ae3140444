#ifndef POOL_H
#define POOL_H
#endif
