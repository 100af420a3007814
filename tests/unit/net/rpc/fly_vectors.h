/* The recordings of flyrpc's implementations. */
#ifndef FLY_VECTORS_H
#define FLY_VECTORS_H

#include "rpc/protocol.h"

#define FLY_MAX_RECORDS 1024

typedef struct fly_record {
    bool from_client;
    uint8_t *bytes;
    size_t len;
} fly_record;

typedef struct fly_recording {
    char name[128];
    const fwi_rpc_protocol *protocol;
    fly_record records[FLY_MAX_RECORDS];
    size_t count;
    bool is_random; /* the order of the answers differs from run to run */
} fly_recording;

/* Calls use for every recording; how many there were. */
size_t fly_each_recording(void (*use)(fly_recording *recording));

#endif
