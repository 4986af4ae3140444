#ifndef IP_H
#define IP_H
#endif
