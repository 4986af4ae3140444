#ifndef SNAPSHOT_H
#define SNAPSHOT_H
#endif
