/*
 * One frame to many sessions. It is made once for each framing that is met, and shared by the
 * queues.
 */
#ifndef FWI_BROADCAST_H
#define FWI_BROADCAST_H

#include "session/session.h"

#define FWI_CAST_FRAMINGS 4 /* of more, frames are made again */

typedef struct fwi_cast {
    const fw_broadcast *what;
    size_t count; /* sessions for which it was meant */
    struct {
        const fwi_session_rules *rules;
        fw_buf *frame;
    } made[FWI_CAST_FRAMINGS];
    size_t made_count;
    size_t next; /* to be made again when there is no place */
} fwi_cast;

static inline void fwi_cast_init(fwi_cast *cast, const fw_broadcast *what)
{
    *cast = (fwi_cast){.what = what};
}
/* Makes the frame of these rules before the first session gets it. FW_EFRAMESIZE, UV_ENOMEM. */
FW_MUST_CHECK int fwi_cast_prepare(fwi_cast *cast, const fwi_session_rules *rules);
void fwi_cast_to(fwi_cast *cast, fw_session *session);
void fwi_cast_fini(fwi_cast *cast);

#endif
