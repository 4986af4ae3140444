#ifndef BOOT_H
#define BOOT_H
#endif
