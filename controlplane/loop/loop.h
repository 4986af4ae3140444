#ifndef LOOP_H
#define LOOP_H
#endif
