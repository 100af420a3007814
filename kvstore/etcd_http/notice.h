/* One message of a watch's stream. */
#ifndef FWI_ETCD_HTTP_NOTICE_H
#define FWI_ETCD_HTTP_NOTICE_H

#include "json.h"

typedef struct fwi_eh_event {
    bool is_delete;
    fwi_ec_pair pair;
} fwi_eh_event;

typedef struct fwi_eh_notice {
    int error_code; /* of gRPC; not 0: the stream is over, for this reason */
    const char *error;
    uint64_t cluster;
    int64_t revision; /* of the header */
    int64_t watch_id;
    bool created, canceled;
    int64_t compact_revision;
    const char *cancel_reason;
    fwi_eh_event *events;
    size_t event_count;
    cJSON *json; /* holds the texts and bytes */
} fwi_eh_notice;

/* FW_EPROTOCOL, UV_ENOMEM; to be ended with fwi_eh_notice_fini in every case. */
FW_MUST_CHECK int fwi_eh_notice_init(fwi_eh_notice *ret_notice, fw_slice message);
void fwi_eh_notice_fini(fwi_eh_notice *notice);

#endif
