#include "pair.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *pair_dir;

const char *pair_file(const char *name)
{
    static char paths[32][300];
    static int next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", pair_dir, name);
    return path;
}

void pair_make_certificates(void)
{
    pair_dir = strdup(fwt_tmpdir());
    fwt_certificate(pair_dir, "ca", NULL, NULL, 30);
    fwt_certificate(pair_dir, "other-ca", NULL, NULL, 30);
    fwt_certificate(pair_dir, "server", "ca", "IP:127.0.0.1,DNS:localhost,DNS:*.example.com", 30);
    fwt_certificate(pair_dir, "client", "ca", "DNS:client", 30);
    fwt_certificate(pair_dir, "stranger", "other-ca", "DNS:client", 30);
}

void pair_forget_certificates(void)
{
    free((void *)pair_dir);
}

pair_end client, server;
uint64_t pair_now_ms = 100000;

static void append(uint8_t **to, size_t *len, size_t *size, const uint8_t *data, size_t n)
{
    if (*len + n > *size)
        *to = realloc(*to, *size = (*len + n) * 2);
    memcpy(*to + *len, data, n);
    *len += n;
}

size_t pair_most_wire = SIZE_MAX;

int pair_send(void *arg, const uint8_t *data, size_t len)
{
    pair_end *one = arg;
    if (one->wire_len > pair_most_wire)
        return FW_ELIMIT;
    append(&one->wire, &one->wire_len, &one->wire_size, data, len);
    return FW_OK;
}

static void on_open(void *arg)
{
    ((pair_end *)arg)->opened++;
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    pair_end *one = arg;
    ck_assert_uint_le(len, FWI_TLS_RECORD_BYTES);
    append(&one->plain, &one->plain_len, &one->plain_size, data, len);
    one->records++;
    one->wanted--;
}

static void on_end(void *arg)
{
    ((pair_end *)arg)->ended++;
}

static bool wants_data(void *arg)
{
    return ((pair_end *)arg)->wanted > 0;
}

const fwi_tls_sink pair_sink = {pair_send, on_open, on_data, on_end, wants_data};

void pair_fini(pair_end *one)
{
    fwi_tls_engine_fini(&one->engine);
    free(one->wire);
    free(one->plain);
    fw_tls *tls = one->tls;
    *one = (pair_end){.tls = tls};
}

void pair_release(void)
{
    pair_fini(&client);
    pair_fini(&server);
    fw_tls_release(client.tls);
    fw_tls_release(server.tls);
    client.tls = server.tls = NULL;
}

/* Gives what `from` has sent to `to`, in pieces; as much of it as is taken. */
bool pair_carry(pair_end *from, pair_end *to, size_t piece)
{
    size_t at = 0;
    while (at < from->wire_len && !to->error) {
        size_t n = from->wire_len - at < piece ? from->wire_len - at : piece;
        uint8_t *copy = malloc(n); /* so that reading beyond it is seen */
        memcpy(copy, from->wire + at, n);
        ssize_t took = fwi_tls_engine_input(&to->engine, copy, n);
        free(copy);
        if (took < 0) {
            to->error = (int)took;
            break;
        }
        at += (size_t)took;
        if ((size_t)took < n)
            break;
    }
    if (to->error)
        at = from->wire_len;
    memmove(from->wire, from->wire + at, from->wire_len - at);
    from->wire_len -= at;
    return at > 0;
}

void pair_talk(size_t piece)
{
    for (bool going = true; going;) {
        bool there = pair_carry(&client, &server, piece);
        bool back = pair_carry(&server, &client, piece);
        going = there || back;
    }
}

void pair_begin(const char *host, const char *server_name)
{
    pair_fini(&client);
    pair_fini(&server);
    client.wanted = server.wanted = SIZE_MAX;
    FWT_OK(fwi_tls_engine_init(&client.engine, client.tls, host, 443, server_name, pair_now_ms,
                               &pair_sink, &client));
    FWT_OK(fwi_tls_engine_init(&server.engine, server.tls, NULL, 0, NULL, pair_now_ms, &pair_sink,
                               &server));
    FWT_OK(fwi_tls_engine_start(&client.engine));
}

void pair_make(const fw_tls_options *client_options, const fw_tls_options *server_options)
{
    pair_release();
    FWT_OK(fw_tls_new(client_options, &client.tls));
    FWT_OK(fw_tls_new(server_options, &server.tls));
}

fw_tls_options pair_usual_client(void)
{
    return (fw_tls_options){.cacert = pair_file("ca.pem")};
}

fw_tls_options pair_usual_server(void)
{
    return (fw_tls_options){
        .server = true, .cert = pair_file("server.pem"), .key = pair_file("server.key")};
}

void pair_expect_open(void)
{
    ck_assert_msg(!client.error && !server.error, "client: %s (%s), server: %s (%s)",
                  fw_strerror(client.error), client.engine.errmsg, fw_strerror(server.error),
                  server.engine.errmsg);
    ck_assert_uint_eq(client.opened, 1);
    ck_assert_uint_eq(server.opened, 1);
}

void pair_say(pair_end *from, pair_end *to, size_t len, size_t piece)
{
    uint8_t *text = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        text[i] = (uint8_t)(i * 7 + len);
    to->plain_len = 0;
    FWT_OK(fwi_tls_engine_output(&from->engine, text, len));
    pair_talk(piece);
    fwt_assert_bytes(to->plain, to->plain_len, text, len, "plaintext");
    free(text);
}

/* The failed one says this, and fails so; FW_OK: that end does not fail. */
void pair_expect_failure(const pair_end *one, int error, const char *text)
{
    FWT_ERR(one->error, error);
    ck_assert_msg(one->engine.errmsg && strstr(one->engine.errmsg, text), "wanted \"%s\": %s", text,
                  one->engine.errmsg);
}

bool pair_resumes(const char *host, int port)
{
    pair_fini(&client);
    pair_fini(&server);
    client.wanted = server.wanted = SIZE_MAX;
    FWT_OK(fwi_tls_engine_init(&client.engine, client.tls, host, port, NULL, pair_now_ms,
                               &pair_sink, &client));
    FWT_OK(fwi_tls_engine_init(&server.engine, server.tls, NULL, 0, NULL, pair_now_ms, &pair_sink,
                               &server));
    FWT_OK(fwi_tls_engine_start(&client.engine));
    pair_talk(SIZE_MAX);
    pair_expect_open();
    fw_tls_info at_client, at_server;
    fwi_tls_engine_info(&client.engine, &at_client);
    fwi_tls_engine_info(&server.engine, &at_server);
    ck_assert_int_eq(at_client.resumed, at_server.resumed);
    if (at_client.resumed)
        ck_assert(at_client.peer_verified);
    return at_client.resumed;
}
