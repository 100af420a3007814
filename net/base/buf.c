#include <fairway/buf.h>
#include <fairway/error.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

struct fw_buf {
    atomic_size_t references;
    size_t len;
    uint8_t data[];
};

int fw_buf_create(size_t len, fw_buf **ret_buf, uint8_t **ret_room)
{
    fw_buf *buf = len <= SIZE_MAX - sizeof *buf ? malloc(sizeof *buf + len) : NULL;
    if (!buf)
        return UV_ENOMEM;
    atomic_init(&buf->references, 1);
    buf->len = len;
    *ret_room = buf->data;
    *ret_buf = buf;
    return FW_OK;
}

fw_buf *fw_buf_acquire(fw_buf *buf)
{
    atomic_fetch_add_explicit(&buf->references, 1, memory_order_relaxed);
    return buf;
}

void fw_buf_release(fw_buf *buf)
{
    if (buf && atomic_fetch_sub_explicit(&buf->references, 1, memory_order_acq_rel) == 1)
        free(buf);
}

fw_slice fw_buf_bytes(const fw_buf *buf)
{
    return (fw_slice){buf->data, buf->len};
}
