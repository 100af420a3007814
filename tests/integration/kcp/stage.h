/* Two ends with a relay between them, which exchange bulk both ways. */
#ifndef KCP_STAGE_H
#define KCP_STAGE_H

#include "pair.h"
#include "udp_relay.h"

/* Kinds: quick kcp, the same with full segments, walle's settings, quick kcps. */
enum { STAGE_QUICK, STAGE_STREAM, STAGE_WALLE, STAGE_SECURE, STAGE_KINDS };

struct stage {
    pair_listener listener;
    fwt_udp_relay *relay;
    pair_end end;
};

/* Both begin to send; `more` is added to the parameters of both ("&idle=1000"). */
void stage_setup(struct stage *stage, size_t kind, const fwt_weather *weather, const char *more);
/* Until both have got all, as it was sent, in one session. */
void stage_wait(struct stage *stage);
void stage_fini(struct stage *stage);

#endif
