#include "zkt.h"

#include <uv.h>

fwt_zookeeper zkt_server;

static void start(void)
{
    fwt_zookeeper_start(&zkt_server);
}

static void stop(void)
{
    fwt_zookeeper_kill(&zkt_server);
}

TCase *zkt_tcase(Suite *suite, const char *name, double timeout_s)
{
    TCase *tcase = fwt_tcase(suite, name, timeout_s);
    tcase_add_unchecked_fixture(tcase, start, stop);
    return tcase;
}

uint64_t zkt_now_ms(void)
{
    return uv_hrtime() / 1000000;
}

fw_kv *zkt_open(int port, const char *path, uint32_t timeout_ms)
{
    char url[300];
    snprintf(url, sizeof url, "zk://127.0.0.1:%d/%s?jute_maxbuffer=%d", port, path,
             FWT_ZOOKEEPER_PACKET_BYTES);
    fw_kv *kv;
    fw_kv_options options = {.timeout_ms = timeout_ms};
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    return kv;
}

void zkt_close(fw_kv *kv, unsigned within_ms)
{
    bool closed = false;
    uint64_t start_ms = zkt_now_ms();
    fw_kv_close(kv, kvt_on_closed, &closed);
    fwt_run_until(&closed, KVT_WAIT_MS);
    ck_assert_uint_lt(zkt_now_ms() - start_ms, within_ms);
}

const kvt_event *zkt_until(kvt_watch *watch, fw_kv_event_type type)
{
    for (;;) {
        fwt_run_count(&watch->count, watch->seen + 1, 2 * KVT_WAIT_MS);
        const kvt_event *event = &watch->events[watch->seen++];
        if (event->type == type)
            return event;
    }
}

/* ---- another client ---- */

static void ignore(zhandle_t *zh, int type, int state, const char *path, void *arg)
{
    (void)zh;
    (void)type;
    (void)state;
    (void)path;
    (void)arg;
}

static void ignore_answer(int rc, const void *data)
{
    (void)rc;
    (void)data;
}

zhandle_t *zkt_connect(int port, const char *credentials)
{
    char host[64];
    snprintf(host, sizeof host, "127.0.0.1:%d", port);
    zoo_set_debug_level(0);
    zhandle_t *zh = zookeeper_init(host, ignore, 20000, NULL, NULL, ZOO_NO_LOG_CLIENTENV);
    ck_assert_ptr_nonnull(zh);
    uint64_t deadline = zkt_now_ms() + KVT_WAIT_MS;
    while (zoo_state(zh) != ZOO_CONNECTED_STATE) {
        ck_assert_uint_lt(zkt_now_ms(), deadline);
        uv_sleep(5);
    }
    if (credentials)
        ZKT_IS(
            zoo_add_auth(zh, "digest", credentials, (int)strlen(credentials), ignore_answer, NULL),
            ZOK);
    return zh;
}

void zkt_create(zhandle_t *zh, const char *path, const char *data, int len, int mode)
{
    ZKT_IS(zoo_create(zh, path, data, len, &ZOO_OPEN_ACL_UNSAFE, mode, NULL, 0), ZOK);
}

int64_t zkt_expect_data(zhandle_t *zh, const char *path, const void *data, int len)
{
    char buffer[1024];
    int buffer_len = sizeof buffer;
    struct Stat stat;
    int rc = zoo_get(zh, path, 0, buffer, &buffer_len, &stat);
    ck_assert_msg(rc == ZOK, "%s: %s", path, zerror(rc));
    ck_assert_msg(buffer_len == len && (len <= 0 || !memcmp(buffer, data, (size_t)len)),
                  "%s has %d bytes: %.*s", path, buffer_len, buffer_len > 0 ? buffer_len : 0,
                  buffer);
    return stat.ephemeralOwner;
}
