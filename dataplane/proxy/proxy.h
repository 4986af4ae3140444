#ifndef PROXY_H
#define PROXY_H
#endif
