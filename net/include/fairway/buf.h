/*
 * Bytes that do not change any more, counted by their users: what many connections send is made
 * once and held by each of them until it has left.
 */
#ifndef FAIRWAY_BUF_H
#define FAIRWAY_BUF_H

#include <fairway/base.h>

FW_BEGIN_DECLS

typedef struct fw_buf fw_buf;

/* Room for len bytes, which the caller fills in before anybody else gets the buffer. The caller
 * has the first reference. UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_buf_create(size_t len, fw_buf **ret_buf, uint8_t **ret_room);
/* One more reference; returns the buffer. Any thread. */
FW_API fw_buf *fw_buf_acquire(fw_buf *buf);
/* The last one frees. NULL is fine. Any thread. */
FW_API void fw_buf_release(fw_buf *buf);
/* Valid as long as the caller's reference. */
FW_API fw_slice fw_buf_bytes(const fw_buf *buf);

FW_END_DECLS

#endif
