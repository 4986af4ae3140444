#ifndef MAILBOX_H
#define MAILBOX_H
#endif
