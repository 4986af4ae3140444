#ifndef PICKER_H
#define PICKER_H
#endif
