#ifndef MEMBERSHIP_H
#define MEMBERSHIP_H
#endif
