#ifndef RESOLVER_H
#define RESOLVER_H
#endif
