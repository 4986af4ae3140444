#ifndef PORT_H
#define PORT_H
#endif
