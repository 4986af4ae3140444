#ifndef PUBLISH_H
#define PUBLISH_H
#endif
