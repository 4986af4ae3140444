#ifndef ROUTER_H
#define ROUTER_H
#endif
