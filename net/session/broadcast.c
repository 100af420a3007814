#include "session/broadcast.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

static int make(const fwi_session_rules *rules, const fw_broadcast *what, fw_buf **ret_buf)
{
    fwi_frame frame;
    uint8_t *room;
    int err = fwi_frame_make(rules, (fw_slice){what->data, what->len}, &frame);
    if (!err)
        err = fw_buf_create(frame.head_len + frame.body.len, ret_buf, &room);
    if (!err)
        fwi_frame_copy(&frame, room);
    return err;
}

static bool same_frames(const fwi_session_rules *a, const fwi_session_rules *b)
{
    return a == b ||
           (!a->compressor && !b->compressor && fwi_framing_same(&a->framing, &b->framing) &&
            a->framing.max_frame_bytes == b->framing.max_frame_bytes);
}

static int frame_for(fwi_cast *cast, const fwi_session_rules *rules, fw_buf **ret_frame)
{
    for (size_t i = 0; i < cast->made_count; i++)
        if (same_frames(cast->made[i].rules, rules)) {
            *ret_frame = cast->made[i].frame;
            return FW_OK;
        }
    int err = make(rules, cast->what, ret_frame);
    if (err)
        return err;
    size_t at = cast->made_count;
    if (at < FWI_CAST_FRAMINGS) {
        cast->made_count++;
    } else {
        at = cast->next;
        cast->next = (at + 1) % FWI_CAST_FRAMINGS;
        fw_buf_release(cast->made[at].frame);
    }
    cast->made[at].rules = rules;
    cast->made[at].frame = *ret_frame;
    return FW_OK;
}

int fwi_cast_prepare(fwi_cast *cast, const fwi_session_rules *rules)
{
    fw_buf *frame;
    return frame_for(cast, rules, &frame);
}

void fwi_cast_to(fwi_cast *cast, fw_session *session)
{
    const fw_broadcast *what = cast->what;
    if (session == what->except || !fw_session_is_open(session))
        return;
    fwi_completion *completion = NULL;
    fw_buf *frame;
    int err = FW_OK;
    if (what->sent) {
        completion = fwi_completion_new(session, what->timeout_ms, what->sent, what->arg);
        if (!completion)
            return; /* no memory to tell it with, so it is not counted */
    }
    cast->count++;
    err = frame_for(cast, session->rules, &frame);
    if (!err)
        err = fwi_session_send_buf(session, frame, completion);
    if (err && completion)
        fwi_completion_refuse(completion, err);
    if (err == FW_ELIMIT && what->close_slow)
        fwi_session_fail(session, FW_ESLOW);
}

void fwi_cast_fini(fwi_cast *cast)
{
    for (size_t i = 0; i < cast->made_count; i++)
        fw_buf_release(cast->made[i].frame);
}
