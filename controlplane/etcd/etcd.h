#ifndef ETCD_H
#define ETCD_H
#endif
