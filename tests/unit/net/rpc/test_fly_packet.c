/* flyrpc's packets: what its implementations wrote is read, and written again as the same bytes. */
#include "fly_vectors.h"
#include "fwt.h"
#include "session/framer.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

/* What we would write otherwise, or not at all. */
static const char *const not_rewritten[] = {
    "probe_v0_buffer_bit",         /* a bit without a meaning */
    "probe_v0_flag_0xf1",          /* the same */
    "probe_v0_hello_0x40",         /* never built; passed over */
    "probe_v0_mq_0x00",            /* the same */
    "probe_v0_ping_and_pong_bits", /* is a ping */
    "probe_v0_ping_cmd_nonzero",   /* a ping has no method */
    "probe_v1_both_resp_wait",     /* is a response */
    "probe_v1_len_2",              /* a length wider than needed */
    "probe_v1_len_4",              /* the same */
    "probe_v1_len_8",              /* the same */
    "probe_v1_len_2e63",           /* over every limit */
    "probe_v1_reserved_bits",      /* ignored */
    "probe_v1_zip_bits",           /* the same */
    "probe_v1_multiplex_server",   /* an integer in front of the frames */
};

static bool is_listed(const char *name)
{
    for (size_t i = 0; i < sizeof not_rewritten / sizeof *not_rewritten; i++)
        if (!strcmp(not_rewritten[i], name))
            return true;
    return false;
}

static void check_frame(const fly_recording *recording, fw_slice frame)
{
    const fwi_rpc_protocol *protocol = recording->protocol;
    fwi_rpc_packet packet;
    int err = protocol->decode(&packet, NULL, frame.data, frame.len, false);
    ck_assert_msg(!err, "%s: %s", recording->name, fw_strerror(err));
    if (is_listed(recording->name))
        return;
    size_t len;
    err = protocol->size(&packet, false, FWI_RPC_DEFAULT_FRAME, &len);
    ck_assert_msg(!err, "%s: %s", recording->name, fw_strerror(err));
    uint8_t *bytes = malloc(len);
    protocol->encode(&packet, false, bytes, len);
    fwt_assert_bytes(bytes, len, frame.data, frame.len, recording->name);
    free(bytes);
}

/* One direction of a recording, in pieces. */
static void check_direction(const fly_recording *recording, bool from_client, size_t piece)
{
    fwi_framer framer = {.framing = recording->protocol->framing};
    framer.framing.max_frame_bytes = FWI_RPC_DEFAULT_FRAME;
    fw_slice frame;
    int rc = 0;
    for (size_t i = 0; i < recording->count && rc >= 0; i++) {
        const fly_record *record = &recording->records[i];
        for (size_t at = 0; record->from_client == from_client && at < record->len && rc >= 0;
             at += piece) {
            size_t n = record->len - at < piece ? record->len - at : piece;
            fwi_framer_push(&framer, record->bytes + at, n);
            while ((rc = fwi_framer_next(&framer, &frame)) > 0)
                check_frame(recording, frame);
        }
    }
    bool is_huge = !strcmp(recording->name, "probe_v1_len_2e63") && from_client;
    if (!recording->is_random)
        ck_assert_msg(rc == (is_huge ? FW_EFRAMESIZE : 0), "%s: %s", recording->name,
                      fw_strerror(rc));
    fwi_framer_fini(&framer);
}

static void check_recording(fly_recording *recording)
{
    if (strstr(recording->name, "multiplex") || strstr(recording->name, "pipelined"))
        return; /* broken frames of the original */
    for (int from_client = 0; from_client < 2; from_client++) {
        check_direction(recording, from_client, SIZE_MAX / 2);
        check_direction(recording, from_client, recording->count < 20 ? 1 : 7);
    }
}

START_TEST(recordings_are_read_and_written_byte_for_byte)
{
    ck_assert_uint_ge(fly_each_recording(check_recording), 160);
}
END_TEST

static void refuse_size(const fwi_rpc_protocol *protocol, const fwi_rpc_packet *packet, int wanted)
{
    size_t len;
    FWT_ERR(protocol->size(packet, false, FWI_RPC_DEFAULT_FRAME, &len), wanted);
}

START_TEST(what_a_dialect_cannot_tell_is_refused)
{
    static char big[70000];
    fwi_rpc_packet packet = {.kind = FWI_RPC_KIND_REQUEST, .number = 65536};
    refuse_size(&fwi_rpc_fly_v0, &packet, FW_EOPTION);
    packet = (fwi_rpc_packet){.body = {big, 65536}};
    refuse_size(&fwi_rpc_fly_v0, &packet, FW_EFRAMESIZE);
    refuse_size(&fwi_rpc_fly_seed, &packet, FW_EFRAMESIZE);
    packet.body.len = 65531;
    refuse_size(&fwi_rpc_fly_03, &packet, FW_EFRAMESIZE);
    refuse_size(&fwi_rpc_fly_04, &packet, FW_EFRAMESIZE);
    packet = (fwi_rpc_packet){.method = {"a\nb", 3}};
    refuse_size(&fwi_rpc_fly_03, &packet, FW_EOPTION);
    packet.method = (fw_slice){big, 256};
    refuse_size(&fwi_rpc_fly_04, &packet, FW_EOPTION);
    packet.method = (fw_slice){"a\0b", 3};
    refuse_size(&fwi_rpc_fly_v1, &packet, FW_EOPTION);
    packet = (fwi_rpc_packet){.sequence = 65536};
    refuse_size(&fwi_rpc_fly_v1, &packet, FW_EOPTION);
}
END_TEST

/* A code without an end does not grow for ever. */
START_TEST(a_code_without_an_end_is_refused)
{
    static uint8_t bytes[FWI_RPC_MAX_HEAD_BYTES];
    memset(bytes, 'x', sizeof bytes);
    uint64_t payload;
    const fw_framing_ops *ops = fwi_rpc_fly_v1.framing.custom;
    ck_assert_int_lt(ops->parse(bytes, ops->max_header_bytes, &payload, NULL), 0);
}
END_TEST

/* ---- which protocol a peer speaks ---- */

static const char *recognised(const char *names, const void *data, size_t len)
{
    fwi_rpc_protocols protocols;
    const fwi_rpc_protocol *protocol;
    FWT_OK(fwi_rpc_protocols_parse(&protocols, names));
    for (size_t i = 0; i <= len; i++) {
        int rc = fwi_rpc_protocols_recognise(&protocols, data, i, false, FWI_RPC_DEFAULT_FRAME,
                                             &protocol);
        if (rc)
            return rc > 0 ? protocol->name : "none";
    }
    return "more";
}

static size_t recognised_count;

/* Every conversation begins with what tells its dialect from the others. */
static void recognise_recording(fly_recording *recording)
{
    const fly_record *first = &recording->records[0];
    bool is_odd = !strncmp(recording->name, "probe_", 6) || strstr(recording->name, "empty_code");
    if (!recording->count || !first->from_client || is_odd)
        return;
    static const char *const sets[] = {"walle,fly-v0,fly-0.3,fly-v1", "walle,fly-v0,fly-0.4,fly-v1",
                                       "fly-v1,fly-seed,fly-0.3,walle",
                                       "fly-0.4,fly-v1,fly-v0,walle"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (!strstr(sets[i], recording->protocol->name))
            continue;
        const char *name = recognised(sets[i], first->bytes, first->len);
        ck_assert_msg(!strcmp(name, recording->protocol->name), "%s: %s among %s", recording->name,
                      name, sets[i]);
        recognised_count++;
    }
}

START_TEST(the_first_bytes_tell_the_protocol)
{
    fly_each_recording(recognise_recording);
    ck_assert_uint_ge(recognised_count, 200);
    const char *all = "walle,fly-v0,fly-0.4,fly-v1";
    ck_assert_str_eq(recognised(all, "\x0f\0\0\0\x08\x01\x18\x01", 8), "walle");
    ck_assert_str_eq(recognised(all, "GET / HTTP/1.1\r\n", 16), "none");
    ck_assert_str_eq(recognised(all, "\x16\x03\x01\x02\x00\x01\x00", 7), "none");
    ck_assert_str_eq(recognised("walle,fly-0.3", "SSH-2.0-", 8), "none");
}
END_TEST

START_TEST(what_cannot_be_told_apart_is_refused)
{
    fwi_rpc_protocols protocols;
    FWT_ERR(fwi_rpc_protocols_parse(&protocols, "fly-v0,fly-seed"), FW_EOPTION);
    FWT_ERR(fwi_rpc_protocols_parse(&protocols, "fly-0.3,walle,fly-0.4"), FW_EOPTION);
    FWT_ERR(fwi_rpc_protocols_parse(&protocols, "walle,walle"), FW_EOPTION);
    FWT_ERR(fwi_rpc_protocols_parse(&protocols, "walle,"), FW_EOPTION);
    FWT_ERR(fwi_rpc_protocols_parse(&protocols, ""), FW_EOPTION);
    FWT_ERR(fwi_rpc_protocols_parse(&protocols, "fly-v2"), FW_EOPTION);
    FWT_OK(fwi_rpc_protocols_parse(&protocols, NULL));
    ck_assert_ptr_eq(protocols.list[0], &fwi_rpc_walle);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fly_packet");
    TCase *tcase = tcase_create("packet");
    tcase_set_timeout(tcase, 60);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, recordings_are_read_and_written_byte_for_byte);
    tcase_add_test(tcase, what_a_dialect_cannot_tell_is_refused);
    tcase_add_test(tcase, a_code_without_an_end_is_refused);
    tcase_add_test(tcase, the_first_bytes_tell_the_protocol);
    tcase_add_test(tcase, what_cannot_be_told_apart_is_refused);
    return fwt_main(suite);
}
