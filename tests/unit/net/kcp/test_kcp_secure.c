/* The authenticated mode without sockets: who gets in, and what is not believed. */
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "fwt.h"
#include "transport/kcp/secure.h"
#include "transport/kcp/secure_keys.h"

#define HERE  "address one"
#define THERE "address two"

static fwi_kcps_secrets client_secrets, server_secrets;
static fwi_kcps_client client;
static fwi_kcps_server server;
static fwi_kcps at_client, at_server;
static uint8_t accept_bytes[FWI_KCPS_ACCEPT_BYTES];

static void setup(void)
{
    client_secrets = server_secrets = (fwi_kcps_secrets){.has_psk = false};
    at_client = at_server = (fwi_kcps){.id = 0};
}

static void give_psk(fwi_kcps_secrets *secrets, uint8_t byte)
{
    secrets->has_psk = true;
    memset(secrets->psk, byte, sizeof secrets->psk);
}

static void give_server_key(void)
{
    ck_assert(fwi_kcps_make_pair(server_secrets.server_private, server_secrets.server_public));
    server_secrets.has_server_key = client_secrets.has_server_key = true;
    memcpy(client_secrets.server_public, server_secrets.server_public, FWI_KCPS_KEY_BYTES);
}

static fwi_kcps_greeting greet(const char *address, uint64_t now_ms, uint8_t *ret_reply)
{
    return fwi_kcps_server_hello(&server, now_ms, address, strlen(address), client.hello,
                                 sizeof client.hello, ret_reply);
}

/* As far as it gets. Returns FW_EAUTH if the server does not answer. */
static int shake_hands(void)
{
    uint8_t reply[FWI_KCPS_RETRY_BYTES];
    FWT_OK(fwi_kcps_client_init(&client, &client_secrets));
    FWT_OK(fwi_kcps_server_init(&server, &server_secrets));
    if (greet(HERE, 5000, reply) != FWI_KCPS_SEND)
        return FW_EAUTH;
    ck_assert(fwi_kcps_client_retry(&client, reply, sizeof reply));
    ck_assert_int_eq(greet(HERE, 5100, reply), FWI_KCPS_WELCOME);
    FWT_OK(fwi_kcps_server_accept(&server, client.hello, 77, &at_server, accept_bytes));
    return fwi_kcps_client_accept(&client, accept_bytes, sizeof accept_bytes, &at_client);
}

static int pass_one(fwi_kcps *from, fwi_kcps *to, const char *text)
{
    uint8_t bytes[200], kind, *inner;
    size_t len,
        sealed = fwi_kcps_seal(from, FWI_KCPS_KCP, (const uint8_t *)text, strlen(text), bytes);
    bool newest;
    ck_assert_uint_eq(sealed, strlen(text) + FWI_KCPS_OVERHEAD_BYTES);
    int err = fwi_kcps_open(to, bytes, sealed, &kind, &inner, &len, &newest);
    if (!err) {
        ck_assert_uint_eq(kind, FWI_KCPS_KCP);
        ck_assert(len == strlen(text) && !memcmp(inner, text, len));
    }
    return err;
}

static void check_both_ways(void)
{
    FWT_OK(pass_one(&at_client, &at_server, "up"));
    FWT_OK(pass_one(&at_server, &at_client, "down"));
    FWT_OK(pass_one(&at_client, &at_server, ""));
    ck_assert(memcmp(at_client.send_key, at_client.recv_key, FWI_KCPS_KEY_BYTES));
    FWT_ERR(pass_one(&at_client, &at_client, "to myself"), FW_EAUTH);
}

START_TEST(those_who_have_the_same_secrets_meet)
{
    if (_i & 1)
        give_server_key();
    if (_i & 2) {
        give_psk(&client_secrets, 7);
        give_psk(&server_secrets, 7);
    }
    FWT_OK(shake_hands());
    check_both_ways();
}
END_TEST

START_TEST(a_client_that_wants_no_proof_meets_a_server_with_a_key)
{
    give_server_key();
    client_secrets.has_server_key = false;
    FWT_OK(shake_hands());
    check_both_ways();
}
END_TEST

START_TEST(without_the_secrets_there_is_no_answer)
{
    switch (_i) {
    case 0: /* another psk */
        give_psk(&client_secrets, 1);
        give_psk(&server_secrets, 2);
        break;
    case 1: /* none, where one is wanted */
        give_psk(&server_secrets, 2);
        break;
    case 2: /* one, where none is */
        give_psk(&client_secrets, 2);
        break;
    case 3: /* another server's key is known */
        give_server_key();
        client_secrets.server_public[3] ^= 1;
        break;
    default: /* the server has none */
        give_server_key();
        server_secrets.has_server_key = false;
    }
    FWT_ERR(shake_hands(), FW_EAUTH);
}
END_TEST

START_TEST(an_impostor_without_the_private_key_is_found_out)
{
    give_server_key();
    memset(server_secrets.server_private, 5, FWI_KCPS_KEY_BYTES);
    FWT_ERR(shake_hands(), FW_EAUTH);
}
END_TEST

START_TEST(a_changed_accept_is_found_out)
{
    FWT_OK(shake_hands());
    for (size_t i = 0; i < sizeof accept_bytes; i++) {
        uint8_t changed[sizeof accept_bytes];
        memcpy(changed, accept_bytes, sizeof changed);
        changed[i] ^= 0x10;
        fwi_kcps session;
        ck_assert_int_ne(fwi_kcps_client_accept(&client, changed, sizeof changed, &session), FW_OK);
    }
    fwi_kcps session;
    FWT_OK(fwi_kcps_client_accept(&client, accept_bytes, sizeof accept_bytes, &session));
}
END_TEST

START_TEST(a_cookie_is_of_one_address_one_attempt_and_a_short_time)
{
    uint8_t reply[FWI_KCPS_RETRY_BYTES];
    FWT_OK(fwi_kcps_client_init(&client, &client_secrets));
    FWT_OK(fwi_kcps_server_init(&server, &server_secrets));
    ck_assert_int_eq(greet(HERE, 5000, reply), FWI_KCPS_SEND);
    ck_assert(fwi_kcps_client_retry(&client, reply, sizeof reply));
    ck_assert_int_eq(greet(HERE, 5000, reply), FWI_KCPS_WELCOME);
    ck_assert_int_eq(greet(HERE, 5000 + FWI_KCPS_COOKIE_MS, reply), FWI_KCPS_WELCOME);
    ck_assert_int_eq(greet(HERE, 5001 + FWI_KCPS_COOKIE_MS, reply), FWI_KCPS_SEND);
    ck_assert_int_eq(greet(HERE, 4999, reply), FWI_KCPS_SEND);
    ck_assert_int_eq(greet(THERE, 5000, reply), FWI_KCPS_SEND);
    fwi_kcps_client other;
    FWT_OK(fwi_kcps_client_init(&other, &client_secrets));
    ck_assert_int_eq(greet(HERE, 5000, reply), FWI_KCPS_WELCOME);
    memcpy(other.hello + 40, client.hello + 40, 24); /* time and cookie of the first */
    client.hello[8] ^= 1;                            /* its mac is not right any more, either */
    ck_assert_int_eq(greet(HERE, 5000, reply), FWI_KCPS_DROP);
    fwi_kcps_server again; /* after a restart */
    FWT_OK(fwi_kcps_server_init(&again, &server_secrets));
    client.hello[8] ^= 1;
    ck_assert_int_eq(fwi_kcps_server_hello(&again, 5000, HERE, strlen(HERE), client.hello,
                                           sizeof client.hello, reply),
                     FWI_KCPS_SEND);
}
END_TEST

START_TEST(an_answer_is_never_longer_than_the_question)
{
    ck_assert_uint_lt(FWI_KCPS_RETRY_BYTES, FWI_KCPS_HELLO_BYTES);
    ck_assert_uint_lt(FWI_KCPS_ACCEPT_BYTES, FWI_KCPS_HELLO_BYTES);
    uint8_t reply[FWI_KCPS_RETRY_BYTES];
    FWT_OK(fwi_kcps_client_init(&client, &client_secrets));
    FWT_OK(fwi_kcps_server_init(&server, &server_secrets));
    for (size_t len = 0; len < sizeof client.hello; len++)
        ck_assert_int_eq(fwi_kcps_server_hello(&server, 1, HERE, 3, client.hello, len, reply),
                         FWI_KCPS_DROP);
}
END_TEST

START_TEST(every_changed_bit_of_a_datagram_is_found_out)
{
    FWT_OK(shake_hands());
    uint8_t good[64], bad[64], kind, *inner;
    size_t inner_len,
        len = fwi_kcps_seal(&at_client, FWI_KCPS_KCP, (const uint8_t *)"abc", 3, good);
    bool newest;
    for (size_t bit = 0; bit < len * 8; bit++) {
        memcpy(bad, good, len);
        bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
        FWT_ERR(fwi_kcps_open(&at_server, bad, len, &kind, &inner, &inner_len, &newest), FW_EAUTH);
    }
    for (size_t cut = 0; cut < len; cut++) {
        memcpy(bad, good, len);
        FWT_ERR(fwi_kcps_open(&at_server, bad, cut, &kind, &inner, &inner_len, &newest), FW_EAUTH);
    }
    FWT_OK(fwi_kcps_open(&at_server, good, len, &kind, &inner, &inner_len, &newest));
    ck_assert(newest);
}
END_TEST

/* Datagrams 1..COUNT, sealed in order. */
enum { COUNT = 3000, SEALED = FWI_KCPS_OVERHEAD_BYTES + 4 };
static uint8_t sealed[COUNT + 1][SEALED];

static void seal_all(void)
{
    FWT_OK(shake_hands());
    for (uint32_t i = 1; i <= COUNT; i++)
        ck_assert_uint_eq(
            fwi_kcps_seal(&at_client, FWI_KCPS_KCP, (const uint8_t *)&i, 4, sealed[i]), SEALED);
}

static bool opens(uint32_t number, bool *ret_newest)
{
    uint8_t bytes[SEALED], kind, *inner;
    size_t len;
    memcpy(bytes, sealed[number], SEALED);
    return !fwi_kcps_open(&at_server, bytes, SEALED, &kind, &inner, &len, ret_newest);
}

START_TEST(late_ones_are_taken_once_and_old_ones_never)
{
    bool newest;
    seal_all();
    ck_assert(opens(1, &newest) && newest);
    ck_assert(!opens(1, &newest));
    ck_assert(opens(5, &newest) && newest);
    ck_assert(opens(3, &newest) && !newest);
    ck_assert(opens(4, &newest) && !newest);
    ck_assert(!opens(3, &newest));
    ck_assert(opens(2000, &newest) && newest);
    ck_assert(!opens(2000 - FWI_KCPS_WINDOW, &newest)); /* too old to be known */
    ck_assert(opens(2000 - FWI_KCPS_WINDOW + 1, &newest) && !newest);
    ck_assert(!opens(2000 - FWI_KCPS_WINDOW + 1, &newest));
    for (uint32_t i = 2000 - FWI_KCPS_WINDOW + 2; i < 2000; i++)
        ck_assert(opens(i, &newest) && !newest);
    for (uint32_t i = 1; i <= 2000; i++)
        ck_assert(!opens(i, &newest));
    for (uint32_t i = 2001; i <= COUNT; i++)
        ck_assert(opens(i, &newest) && newest);
}
END_TEST

START_TEST(in_any_order_each_is_taken_at_most_once)
{
    static unsigned taken[COUNT + 1];
    unsigned seed = (unsigned)_i + 1;
    bool newest;
    seal_all();
    memset(taken, 0, sizeof taken);
    for (uint32_t i = 0; i < 4 * COUNT; i++) {
        uint32_t around = i / 4 + (uint32_t)rand_r(&seed) % 200;
        uint32_t number = around < 1 ? 1 : around > COUNT ? COUNT : around;
        taken[number] += opens(number, &newest);
        ck_assert_uint_le(taken[number], 1);
    }
}
END_TEST

START_TEST(nothing_is_sent_when_the_numbers_are_used_up)
{
    FWT_OK(shake_hands());
    uint8_t bytes[64];
    at_client.send_seq = UINT64_MAX;
    ck_assert_uint_eq(fwi_kcps_seal(&at_client, FWI_KCPS_KCP, NULL, 0, bytes), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kcp secure");
    TCase *tcase = tcase_create("secure");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_loop_test(tcase, those_who_have_the_same_secrets_meet, 0, 4);
    tcase_add_test(tcase, a_client_that_wants_no_proof_meets_a_server_with_a_key);
    tcase_add_loop_test(tcase, without_the_secrets_there_is_no_answer, 0, 5);
    tcase_add_test(tcase, an_impostor_without_the_private_key_is_found_out);
    tcase_add_test(tcase, a_changed_accept_is_found_out);
    tcase_add_test(tcase, a_cookie_is_of_one_address_one_attempt_and_a_short_time);
    tcase_add_test(tcase, an_answer_is_never_longer_than_the_question);
    tcase_add_test(tcase, every_changed_bit_of_a_datagram_is_found_out);
    tcase_add_test(tcase, late_ones_are_taken_once_and_old_ones_never);
    tcase_add_loop_test(tcase, in_any_order_each_is_taken_at_most_once, 0, 3);
    tcase_add_test(tcase, nothing_is_sent_when_the_numbers_are_used_up);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
