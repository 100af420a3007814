/* A relay on the test's loop that ends each of its links after a number of bytes, to the byte. */
#ifndef CUTTER_H
#define CUTTER_H

#include <fairway/transport.h>

#include "fwt.h"

typedef struct cutter {
    fw_listener *listener;
    int port, target;
    /* How many bytes the next link passes on from the client, and to it. What is beyond is lost,
     * and so is what was on its way in the other direction. */
    void (*budget)(size_t *ret_up, size_t *ret_down, void *arg);
    void *arg;
    size_t cuts, links; /* made; there are */
    bool closed;
} cutter;

void cutter_start(cutter *self, int target);
/* After the ends of its links are gone. */
void cutter_end(cutter *self);

#endif
