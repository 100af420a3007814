/* The cryptography, the ring, and the handshakes of both sides with each other and with bad peers.
 */
#include "transport/snet/handshake.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/bytes.h"
#include "base/random.h"
#include "fwt.h"

/* ---- cryptography ---- */

START_TEST(test_keys)
{
    uint64_t a = 0x0123456789abcdef, b = 0x9acb0442f0c5341f, a_public, b_public, one, other;
    FWT_OK(fwi_snet_public_key(a, &a_public));
    FWT_OK(fwi_snet_public_key(b, &b_public));
    ck_assert_uint_eq(a_public, 0x445fea74f4a7a181u); /* as recorded */
    ck_assert_uint_eq(b_public, 0xc30c08f9c8556bd4u);
    FWT_OK(fwi_snet_secret(a, b_public, &one));
    FWT_OK(fwi_snet_secret(b, a_public, &other));
    ck_assert_uint_eq(one, other);
    const uint64_t prime = 0xffffffffffffffc5u;
    const uint64_t bad[] = {0, 1, prime - 1, prime, prime + 1};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FWT_ERR(fwi_snet_secret(a, bad[i], &one), FW_EPROTOCOL);
    FWT_OK(fwi_snet_secret(a, prime + 2, &one)); /* reduced, as the originals do */
    FWT_OK(fwi_snet_secret(a, 2, &other));
    ck_assert_uint_eq(one, other);
}
END_TEST

START_TEST(test_rc4)
{
    /* Of RFC 6229, 40-bit key 0102030405, offsets 0 and 16. */
    static const uint8_t key[] = {1, 2, 3, 4, 5};
    size_t len;
    uint8_t *wanted =
        fwt_unhex("b2396305f03dc027ccc3524a0a1118a86982944f18fc82d589c403a47a0d0919", &len);
    uint8_t got[32] = {0};
    fwi_rc4 rc4;
    fwi_rc4_init(&rc4, key, sizeof key);
    fwi_rc4_apply(&rc4, got, 5, got);
    fwi_rc4_apply(&rc4, got + 5, sizeof got - 5, got + 5);
    fwt_assert_bytes(got, sizeof got, wanted, len, "keystream");
    free(wanted);
}
END_TEST

/* ---- the stream ---- */

/* Whatever is sent in whatever pieces: what the ring has is the end of it, never more than it may
 * hold, and never less than that or all. */
static void check_ring(const fwi_snet_stream *stream, const uint8_t *wire, size_t most)
{
    size_t held = stream->written < most ? (size_t)stream->written : most;
    ck_assert_uint_ge(stream->held, held);
    ck_assert_uint_le(stream->held, most);
    size_t from = fwi_random_below((uint32_t)held + 1);
    fwi_snet_span spans[2];
    fwi_snet_stream_replay(stream, stream->written - from, spans);
    ck_assert_uint_eq(spans[0].len + spans[1].len, from);
    const uint8_t *wanted = wire + stream->written - from;
    fwt_assert_bytes(spans[0].data, spans[0].len, wanted, spans[0].len, "first span");
    fwt_assert_bytes(spans[1].data, spans[1].len, wanted + spans[0].len, spans[1].len, "second");
}

START_TEST(test_ring)
{
    static const size_t sizes[] = {1, 2, 7, 64, 1023, 1024, 1025, 5000};
    size_t most = sizes[(size_t)_i];
    uint8_t *wire = malloc(200000), data[7000];
    for (int round = 0; round < 20; round++) {
        fwi_snet_stream stream;
        FWT_OK(fwi_snet_stream_init(&stream, 1, 12345, false, round % 2, most));
        while (stream.written < 100000) {
            size_t len = fwi_random_below(round < 10 ? 300 : sizeof data);
            for (size_t i = 0; i < len; i++)
                data[i] = (uint8_t)fwi_random_u64();
            FWT_OK(fwi_snet_stream_send(&stream, data, len, wire + stream.written));
            check_ring(&stream, wire, most);
        }
        fwi_snet_stream_fini(&stream);
    }
    free(wire);
}
END_TEST

START_TEST(test_counts)
{
    fwi_snet_stream stream;
    uint8_t data[100] = {0};
    FWT_OK(fwi_snet_stream_init(&stream, 1, 2, true, false, 64));
    FWT_OK(fwi_snet_stream_check(&stream, 0, 0));
    FWT_OK(fwi_snet_stream_send(&stream, data, 100, data));
    fwi_snet_stream_receive(&stream, data, 10);
    FWT_OK(fwi_snet_stream_check(&stream, 10, 100));
    FWT_OK(fwi_snet_stream_check(&stream, UINT64_MAX, 36));
    FWT_ERR(fwi_snet_stream_check(&stream, 10, 35), FW_ELIMIT);
    FWT_ERR(fwi_snet_stream_check(&stream, 9, 100), FW_EPROTOCOL);
    FWT_ERR(fwi_snet_stream_check(&stream, 10, 101), FW_EPROTOCOL);
    FWT_ERR(fwi_snet_stream_check(&stream, 10, UINT64_MAX), FW_EPROTOCOL);
    fwi_snet_stream_fini(&stream);
}
END_TEST

/* ---- both sides with each other ---- */

static uint64_t fixed_id; /* 0: random */
static unsigned draws;

static int ids_of_our_choice(void *ret_bytes, size_t len)
{
    FWT_OK(fwi_random_secret(ret_bytes, len));
    if (fixed_id && ++draws == 2) /* the first is the private key */
        memcpy(ret_bytes, &fixed_id, sizeof fixed_id);
    return 0;
}

struct pair {
    fwi_snet_flavour flavour;
    fwi_snet_server_config config;
    fwi_snet_client client;
    fwi_snet_server server;
    fwi_snet_stream streams[2]; /* client, server */
    bool has_session;
    unsigned settled;
};

static const fwi_snet_stream *find(uint64_t id, void *arg)
{
    struct pair *pair = arg;
    return pair->has_session && pair->streams[1].id == id ? &pair->streams[1] : NULL;
}

static const fwi_snet_stream *settle(uint64_t id, void *arg)
{
    struct pair *pair = arg;
    pair->settled++;
    return find(id, arg);
}

static void pair_init(struct pair *pair, fwi_snet_flavour flavour)
{
    *pair = (struct pair){.flavour = flavour};
    pair->config = (fwi_snet_server_config){FWI_SNET_AUTO, ids_of_our_choice, find, settle, pair};
}

/* Gives bytes in random pieces to the server; its last result. */
static int to_server(struct pair *pair, const fwi_snet_bytes *bytes, fwi_snet_bytes *ret_out)
{
    int result = FWI_SNET_MORE;
    ret_out->len = 0;
    for (size_t at = 0; at < bytes->len && result == FWI_SNET_MORE;) {
        size_t used, piece = 1 + fwi_random_below((uint32_t)(bytes->len - at));
        fwi_snet_bytes out;
        result = fwi_snet_server_input(&pair->server, bytes->data + at, piece, &used, &out);
        ck_assert_uint_le(used, piece);
        at += used;
        if (out.len)
            *ret_out = out;
    }
    return result;
}

static int to_client(struct pair *pair, const fwi_snet_bytes *bytes, fwi_snet_bytes *ret_out)
{
    int err = FW_OK;
    ret_out->len = 0;
    for (size_t at = 0; at < bytes->len && !err;) {
        size_t used, piece = 1 + fwi_random_below((uint32_t)(bytes->len - at));
        err = fwi_snet_client_input(&pair->client, bytes->data + at, piece, &used, ret_out);
        at += used;
    }
    return err;
}

/* Runs a handshake to the server's verdict. */
static int shake(struct pair *pair, bool resume)
{
    fwi_snet_bytes up, down;
    fwi_snet_server_init(&pair->server, &pair->config);
    if (resume)
        FWT_OK(fwi_snet_client_resume(&pair->client, pair->flavour, &pair->streams[0], &up));
    else
        FWT_OK(fwi_snet_client_start(&pair->client, pair->flavour, fwi_random_secret, &up));
    int result = FWI_SNET_MORE;
    while (up.len && result == FWI_SNET_MORE) {
        result = to_server(pair, &up, &down);
        int err = to_client(pair, &down, &up);
        if (err)
            return result < 0 ? result : err;
    }
    return result;
}

static void make_session(struct pair *pair)
{
    ck_assert_int_eq(shake(pair, false), FWI_SNET_NEW);
    ck_assert(pair->client.done);
    ck_assert_uint_eq(pair->client.id, pair->server.id);
    FWT_OK(fwi_snet_stream_init(&pair->streams[0], pair->client.id, pair->client.secret, false,
                                true, 4096));
    FWT_OK(fwi_snet_stream_init(&pair->streams[1], pair->server.id, pair->server.secret, true, true,
                                4096));
    pair->has_session = true;
}

static void pair_fini(struct pair *pair)
{
    fwi_snet_stream_fini(&pair->streams[0]);
    fwi_snet_stream_fini(&pair->streams[1]);
}

static void carry(struct pair *pair, int from, const char *text, bool lost)
{
    uint8_t wire[100];
    size_t len = strlen(text);
    FWT_OK(fwi_snet_stream_send(&pair->streams[from], (const uint8_t *)text, len, wire));
    if (lost)
        return;
    fwi_snet_stream_receive(&pair->streams[1 - from], wire, len);
    fwt_assert_bytes(wire, len, text, len, "carried");
}

static const fwi_snet_flavour flavours[] = {FWI_SNET_UNIWAY, FWI_SNET_FASTWAY};

START_TEST(test_both_sides)
{
    struct pair pair;
    pair_init(&pair, flavours[_i]);
    make_session(&pair);
    ck_assert_int_eq(pair.server.flavour, pair.flavour);
    ck_assert_int_eq(shake(&pair, true), FWI_SNET_RESUMED); /* before a byte was written */
    carry(&pair, 0, "hello", false);
    carry(&pair, 1, "welcome", false);
    carry(&pair, 0, "lost", true);
    carry(&pair, 1, "lost as well", true);
    ck_assert_int_eq(shake(&pair, true), FWI_SNET_RESUMED);
    ck_assert_uint_eq(pair.server.peer_read, 7);
    ck_assert_uint_eq(pair.client.peer_read, 5);
    ck_assert_uint_eq(pair.client.peer_written, 19);
    pair_fini(&pair);
}
END_TEST

/* Ids end in every byte but those that the other flavour begins with. */
START_TEST(test_ids)
{
    static const uint64_t unusable[] = {0, 0x100, 0xff, 0x12345678000000ff, 0xff00};
    for (size_t i = 0; i < sizeof unusable / sizeof *unusable; i++) {
        struct pair pair;
        pair_init(&pair, flavours[_i]);
        fixed_id = unusable[i];
        draws = 0;
        make_session(&pair);
        ck_assert_uint_ne(pair.server.id, unusable[i]);
        ck_assert_int_eq(shake(&pair, true), FWI_SNET_RESUMED);
        ck_assert_int_eq(pair.server.flavour, pair.flavour);
        pair_fini(&pair);
    }
    static const uint64_t usable[] = {1, 0xfe, 0x101, 0x12345600fe};
    for (size_t i = 0; i < sizeof usable / sizeof *usable; i++) {
        struct pair pair;
        pair_init(&pair, flavours[_i]);
        fixed_id = usable[i];
        draws = 0;
        make_session(&pair);
        ck_assert_uint_eq(pair.server.id, usable[i]);
        ck_assert_int_eq(shake(&pair, true), FWI_SNET_RESUMED);
        ck_assert_int_eq(pair.server.flavour, pair.flavour);
        pair_fini(&pair);
    }
    fixed_id = 0;
}
END_TEST

START_TEST(test_refused)
{
    struct pair pair;
    pair_init(&pair, flavours[_i]);
    bool answers = pair.flavour == FWI_SNET_FASTWAY;
    make_session(&pair);
    carry(&pair, 0, "hello", false);
    pair.streams[0].key[3] ^= 1; /* somebody else */
    ck_assert_int_eq(shake(&pair, true), FW_EAUTH);
    ck_assert_uint_eq(pair.settled, 0); /* nothing happens to the session for a stranger */
    ck_assert(!pair.client.done);
    pair.streams[0].key[3] ^= 1;
    pair.has_session = false;
    ck_assert_int_eq(shake(&pair, true), FW_EREFUSED);
    if (answers) { /* and the client was told */
        fwi_snet_bytes zeros = {.len = 24}, out;
        FWT_OK(fwi_snet_client_resume(&pair.client, pair.flavour, &pair.streams[0], &out));
        ck_assert_int_eq(to_client(&pair, &zeros, &out), FW_EREFUSED);
    }
    pair.has_session = true;
    pair.streams[0].read = 1; /* more than was written */
    ck_assert_int_eq(shake(&pair, true), FW_EREFUSED);
    pair.streams[0].read = 0;
    pair.streams[0].written = 4; /* less than was read */
    ck_assert_int_eq(shake(&pair, true), FW_EREFUSED);
    pair.streams[0].written = 5;
    for (int i = 0; i < 400; i++)
        carry(&pair, 1, "more than the ring has ", true);
    ck_assert_int_eq(shake(&pair, true), FW_EREFUSED);
    pair.streams[0].read = pair.streams[1].written - 4096;
    ck_assert_int_eq(shake(&pair, true), FWI_SNET_RESUMED);
    pair_fini(&pair);
}
END_TEST

/* A claim to have written more than anybody can have costs nothing: nothing is allocated for it. */
START_TEST(test_lies)
{
    struct pair pair;
    pair_init(&pair, flavours[_i]);
    make_session(&pair);
    pair.streams[0].written = 1ull << 62;
    pair.streams[0].held = 0;
    int result = shake(&pair, true);
    ck_assert_int_ne(result, FWI_SNET_NEW); /* the client sees that it cannot be */
    ck_assert_uint_eq(pair.streams[1].written, 0);
    pair_fini(&pair);
}
END_TEST

START_TEST(test_wrong_proof)
{
    struct pair pair;
    fwi_snet_bytes up, down;
    pair_init(&pair, FWI_SNET_FASTWAY);
    fwi_snet_server_init(&pair.server, &pair.config);
    FWT_OK(fwi_snet_client_start(&pair.client, pair.flavour, fwi_random_secret, &up));
    ck_assert_int_eq(to_server(&pair, &up, &down), FWI_SNET_MORE);
    FWT_OK(to_client(&pair, &down, &up));
    up.data[15] ^= 0x80;
    ck_assert_int_eq(to_server(&pair, &up, &down), FW_EAUTH);
}
END_TEST

/* A request that was overheard is not enough: the challenge is another one. */
START_TEST(test_replayed)
{
    struct pair pair;
    fwi_snet_bytes request, down, proof;
    pair_init(&pair, FWI_SNET_FASTWAY);
    make_session(&pair);
    FWT_OK(fwi_snet_client_resume(&pair.client, pair.flavour, &pair.streams[0], &request));
    fwi_snet_server_init(&pair.server, &pair.config);
    ck_assert_int_eq(to_server(&pair, &request, &down), FWI_SNET_MORE);
    FWT_OK(to_client(&pair, &down, &proof));
    fwi_snet_server_init(&pair.server, &pair.config);
    ck_assert_int_eq(to_server(&pair, &request, &down), FWI_SNET_MORE);
    ck_assert_int_eq(to_server(&pair, &proof, &down), FW_EAUTH);
    pair_fini(&pair);
}
END_TEST

/* The session goes on over its old link, or ends, while the proof is under way. */
START_TEST(test_late_proof)
{
    struct pair pair;
    fwi_snet_bytes request, down, proof;
    pair_init(&pair, FWI_SNET_FASTWAY);
    make_session(&pair);
    FWT_OK(fwi_snet_client_resume(&pair.client, pair.flavour, &pair.streams[0], &request));
    for (int round = 0; round < 3; round++) {
        fwi_snet_server_init(&pair.server, &pair.config);
        ck_assert_int_eq(to_server(&pair, &request, &down), FWI_SNET_MORE);
        FWT_OK(fwi_snet_client_resume(&pair.client, pair.flavour, &pair.streams[0], &request));
        FWT_OK(to_client(&pair, &down, &proof));
        if (round == 0) {
            pair.streams[1].read += 5;
            ck_assert_int_eq(to_server(&pair, &proof, &down), FWI_SNET_RESUMED);
            ck_assert_uint_eq(pair.streams[1].read - pair.server.told_read, 5);
            pair.streams[1].read -= 5;
        } else if (round == 1) {
            for (int i = 0; i < 400; i++)
                carry(&pair, 1, "more than the ring has ", true);
            ck_assert_int_eq(to_server(&pair, &proof, &down), FW_EREFUSED);
            pair.streams[1].written = 0;
        } else {
            pair.has_session = false;
            ck_assert_int_eq(to_server(&pair, &proof, &down), FW_EREFUSED);
        }
    }
    pair_fini(&pair);
}
END_TEST

START_TEST(test_bad_openings)
{
    struct pair pair;
    fwi_snet_bytes out;
    const struct {
        fwi_snet_flavour flavour;
        const char *hex;
        int wanted;
    } openings[] = {
        {FWI_SNET_FASTWAY, "01", FW_EPROTOCOL},
        {FWI_SNET_FASTWAY, "fe", FW_EPROTOCOL},
        {FWI_SNET_FASTWAY, "000000000000000000", FW_EPROTOCOL},
        {FWI_SNET_FASTWAY, "000100000000000000", FW_EPROTOCOL},
        {FWI_SNET_AUTO, "000100000000000000", FW_EPROTOCOL},
        {FWI_SNET_AUTO, "00c5ffffffffffffff", FW_EPROTOCOL},
        {FWI_SNET_AUTO,
         "474554202f20485454502f312e310d0a486f73743a20780d0a0d0a0d0a0d0a0d0a0d0a0d0a"
         "0d0a0d0a",
         FW_EREFUSED}, /* an id of uniway's, as it were */
        {FWI_SNET_UNIWAY,
         "0000000000000000000000000000000000000000000000000000000000000000"
         "0000000000000000",
         FW_EPROTOCOL},
        {FWI_SNET_UNIWAY,
         "0000000000000000c4ffffffffffffff00000000000000000000000000000000"
         "0000000000000000",
         FW_EPROTOCOL},
        {FWI_SNET_AUTO, "0000000000", FWI_SNET_MORE},
    };
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++) {
        pair_init(&pair, FWI_SNET_UNIWAY);
        pair.config.flavour = openings[i].flavour;
        fwi_snet_server_init(&pair.server, &pair.config);
        fwi_snet_bytes bytes = {.len = 0};
        uint8_t *data = fwt_unhex(openings[i].hex, &bytes.len);
        memcpy(bytes.data, data, bytes.len);
        free(data);
        ck_assert_int_eq(to_server(&pair, &bytes, &out), openings[i].wanted);
    }
}
END_TEST

START_TEST(test_bad_answers)
{
    struct pair pair;
    fwi_snet_bytes out, answer = {.len = 24};
    pair_init(&pair, flavours[_i]);
    FWT_OK(fwi_snet_client_start(&pair.client, pair.flavour, fwi_random_secret, &out));
    ck_assert_int_eq(to_client(&pair, &answer, &out), FW_EPROTOCOL); /* the public key 0 */
    make_session(&pair);
    FWT_OK(fwi_snet_client_resume(&pair.client, pair.flavour, &pair.streams[0], &out));
    fwi_put_u64le(answer.data + 8, 1); /* has read what was not written */
    ck_assert_int_eq(to_client(&pair, &answer, &out), FW_EPROTOCOL);
    pair_fini(&pair);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("snet engine");
    TCase *tcase = tcase_create("engine");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, test_keys);
    tcase_add_test(tcase, test_rc4);
    tcase_add_loop_test(tcase, test_ring, 0, 8);
    tcase_add_test(tcase, test_counts);
    tcase_add_loop_test(tcase, test_both_sides, 0, 2);
    tcase_add_loop_test(tcase, test_ids, 0, 2);
    tcase_add_loop_test(tcase, test_refused, 0, 2);
    tcase_add_loop_test(tcase, test_lies, 0, 2);
    tcase_add_test(tcase, test_wrong_proof);
    tcase_add_test(tcase, test_replayed);
    tcase_add_test(tcase, test_late_proof);
    tcase_add_test(tcase, test_bad_openings);
    tcase_add_loop_test(tcase, test_bad_answers, 0, 2);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
