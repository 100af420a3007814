/* A server that answers what no Redis would: no crash, no hang, no memory by the length it claims.
 */
#include "redist.h"

/* Answers each read with the next of its texts; after the last one it repeats that. */
struct liar {
    uv_tcp_t listener;
    const char *const *texts;
    bool closed;
    size_t peers;
};

struct peer {
    uv_tcp_t tcp;
    struct liar *liar;
    size_t next;
    char buffer[65536];
};

static void on_peer_closed(uv_handle_t *handle)
{
    struct peer *peer = handle->data;
    peer->liar->peers--;
    free(peer);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    (void)suggested;
    struct peer *peer = handle->data;
    *ret_buf = uv_buf_init(peer->buffer, sizeof peer->buffer);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    (void)buf;
    struct peer *peer = stream->data;
    if (n < 0) {
        if (!uv_is_closing((uv_handle_t *)stream))
            uv_close((uv_handle_t *)stream, on_peer_closed);
        return;
    }
    const char *text = peer->liar->texts[peer->next];
    if (peer->liar->texts[peer->next + 1])
        peer->next++;
    uv_buf_t reply = uv_buf_init((char *)text, (unsigned)strlen(text));
    (void)uv_try_write(stream, &reply, 1);
}

static void on_connection(uv_stream_t *listener, int status)
{
    ck_assert_int_eq(status, 0);
    struct liar *liar = listener->data;
    struct peer *peer = calloc(1, sizeof *peer);
    peer->liar = liar;
    liar->peers++;
    uv_tcp_init(listener->loop, &peer->tcp);
    peer->tcp.data = peer;
    ck_assert_int_eq(uv_accept(listener, (uv_stream_t *)&peer->tcp), 0);
    uv_read_start((uv_stream_t *)&peer->tcp, on_alloc, on_read);
}

static int liar_start(struct liar *liar, const char *const *texts)
{
    *liar = (struct liar){.texts = texts};
    int port = fwt_free_port();
    struct sockaddr_in address;
    uv_ip4_addr("127.0.0.1", port, &address);
    uv_tcp_init(fw_loop_uv(fwt_loop), &liar->listener);
    liar->listener.data = liar;
    ck_assert_int_eq(uv_tcp_bind(&liar->listener, (struct sockaddr *)&address, 0), 0);
    ck_assert_int_eq(uv_listen((uv_stream_t *)&liar->listener, 16, on_connection), 0);
    return port;
}

static void on_liar_closed(uv_handle_t *handle)
{
    ((struct liar *)handle->data)->closed = true;
}

static void liar_end(struct liar *liar)
{
    uv_close((uv_handle_t *)&liar->listener, on_liar_closed);
    while (!liar->closed || liar->peers)
        fwt_run_for(1);
}

/* The server's hash of the script, as a reply. */
static char loaded[64];

static void learn_hash(void)
{
    fwt_redis redis;
    fwt_redis_start(&redis, NULL);
    fwt_loop_setup();
    fw_kv *kv = redist_open(redis.port, "", 3000);
    redist_cli(redis.port, "CONFIG", "SET", "slowlog-log-slower-than", "0", NULL);
    FWT_OK(storet_put(kv, "a", "1")->status);
    const char *log = redist_cli(redis.port, "SLOWLOG", "GET", "10", NULL);
    const char *hash = strstr(log, "EVALSHA\n");
    ck_assert_ptr_nonnull(hash);
    snprintf(loaded, sizeof loaded, "$40\r\n%.40s\r\n", hash + 8);
    storet_close(kv, 2000);
    fwt_loop_teardown();
    fwt_redis_kill(&redis);
}

START_TEST(nonsense_in_the_greeting_is_no_store)
{
    static const char *const greetings[] = {
        "+OK\r\n",
        ":1\r\n",
        "*-1\r\n",
        "$-1\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "$40\r\n0123456789012345678901234567890123456789\r\n",
        "*2147483647\r\n",
        "*1000000000\r\n",
        "$9223372036854775807\r\n",
        "$-7\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        "-ERR max number of clients reached\r\n"};
    for (size_t i = 0; i < sizeof greetings / sizeof *greetings; i++) {
        const char *const texts[] = {greetings[i], NULL};
        struct liar liar;
        int port = liar_start(&liar, texts);
        fw_kv *kv = redist_open(port, "", 700);
        storet_watcher watcher;
        storet_watch(&watcher, kv, "", true);
        int status = storet_put(kv, "a", "1")->status;
        ck_assert_msg(status == FW_EUNREACHABLE || status == FW_ESTORE, "%s: %s", greetings[i],
                      fw_error_name(status));
        storet_close(kv, 2000);
        storet_watcher_fini(&watcher);
        liar_end(&liar);
    }
}
END_TEST

START_TEST(nonsense_as_an_answer_is_an_error)
{
    static const char *const answers[] = {
        "+OK\r\n",
        "$2\r\nok\r\n",
        "*0\r\n",
        "*1\r\n$2\r\nok\r\n",
        "*3\r\n$2\r\nok\r\n:-5\r\n:0\r\n",
        "*3\r\n$2\r\nok\r\n:7\r\n:-1\r\n",
        "*3\r\n:1\r\n:1\r\n:1\r\n",
        "*3\r\n$5\r\nhello\r\n:7\r\n:-1\r\n",
        "*7\r\n$2\r\nok\r\n:7\r\n:-1\r\n$1\r\nk\r\n:7\r\n:-9\r\n$1\r\nv\r\n",
        "*7\r\n$2\r\nok\r\n:7\r\n:-1\r\n$0\r\n\r\n:7\r\n:0\r\n$1\r\nv\r\n",
        "*7\r\n$2\r\nok\r\n:7\r\n:-1\r\n:1\r\n:7\r\n:0\r\n$1\r\nv\r\n",
        "*5\r\n$2\r\nok\r\n:7\r\n:-1\r\n$0\r\n\r\n:1000000\r\n",
        "*6\r\n$2\r\nok\r\n:7\r\n:-1\r\n$0\r\n\r\n:0\r\n$1\r\nk\r\n",
        "*5\r\n$2\r\nok\r\n:7\r\n:-1\r\n:7\r\n:-3\r\n",
        "-\r\n",
        "-ERR\r\n"};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const char *const texts[] = {loaded, answers[i], NULL};
        struct liar liar;
        int port = liar_start(&liar, texts);
        fw_kv *kv = redist_open(port, "", 500);
        FWT_ERR(storet_get(kv, "a")->status, FW_ESTORE);
        storet_watcher watcher;
        storet_watch(&watcher, kv, "", true);
        storet_answer list = {.text = NULL};
        FWT_OK(fw_kv_list(kv, "", storet_on_done, &list));
        storet_await(&list);
        free(list.text);
        storet_lease lease;
        storet_lease_new(&lease, kv, 5000);
        ck_assert_int_ne(lease.status, FW_OK);
        storet_close(kv, 3000);
        storet_watcher_fini(&watcher);
        liar_end(&liar);
    }
}
END_TEST

START_TEST(answers_that_nobody_asked_for_end_the_connection)
{
    static const char many[] = "+a\r\n+b\r\n+c\r\n+d\r\n*1\r\n:1\r\n";
    const char *const texts[] = {loaded, many, NULL};
    struct liar liar;
    int port = liar_start(&liar, texts);
    fw_kv *kv = redist_open(port, "", 700);
    FWT_ERR(storet_put(kv, "a", "1")->status, FW_ESTORE);
    int status = storet_get(kv, "a")->status;
    ck_assert(status == FW_ESTORE || status == FW_EUNREACHABLE);
    storet_close(kv, 3000);
    liar_end(&liar);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("redis hostile");
    TCase *tcase = fwt_tcase(suite, "hostile", 90);
    tcase_add_unchecked_fixture(tcase, learn_hash, NULL);
    tcase_add_test(tcase, nonsense_in_the_greeting_is_no_store);
    tcase_add_test(tcase, nonsense_as_an_answer_is_an_error);
    tcase_add_test(tcase, answers_that_nobody_asked_for_end_the_connection);
    return fwt_main(suite);
}
