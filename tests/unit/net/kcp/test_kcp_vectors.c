/* The engine against what the original library did, step by step. */
#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fwt.h"
#include "transport/kcp/kcp.h"

#define OUTPUTS_MAX 256

struct side {
    fwi_kcp kcp;
    bool made;
    uint32_t now; /* of the last update: the original takes it for everything else */
};

struct datagram {
    uint8_t *bytes;
    size_t len;
};

static struct datagram outputs[OUTPUTS_MAX];
static size_t output_count;

static void on_output(const uint8_t *data, size_t len, void *arg)
{
    (void)arg;
    ck_assert_uint_lt(output_count, OUTPUTS_MAX);
    outputs[output_count] = (struct datagram){.bytes = malloc(len), .len = len};
    memcpy(outputs[output_count++].bytes, data, len);
}

static double number(const cJSON *json, const char *name)
{
    const cJSON *item = cJSON_GetObjectItem(json, name);
    ck_assert_msg(item != NULL, "no %s", name);
    return item->valuedouble;
}

static uint32_t u32(const cJSON *json, const char *name)
{
    return (uint32_t)(int64_t)number(json, name);
}

static uint32_t arg_of(const cJSON *event, int index)
{
    return (uint32_t)cJSON_GetArrayItem(cJSON_GetObjectItem(event, "args"), index)->valueint;
}

static const char *text_of(const cJSON *json, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(json, name));
}

static void check_outputs(const cJSON *event, const char *where)
{
    const cJSON *wanted = cJSON_GetObjectItem(event, "out");
    size_t count = wanted ? (size_t)cJSON_GetArraySize(wanted) : 0;
    ck_assert_msg(output_count == count, "%s: %zu datagrams, wanted %zu", where, output_count,
                  count);
    for (size_t i = 0; i < count; i++) {
        size_t len;
        uint8_t *bytes = fwt_unhex(text_of(cJSON_GetArrayItem(wanted, (int)i), "hex"), &len);
        fwt_assert_bytes(outputs[i].bytes, outputs[i].len, bytes, len, where);
        free(bytes);
        free(outputs[i].bytes);
    }
    output_count = 0;
}

static void check_state(const cJSON *event, const fwi_kcp *kcp, const char *where)
{
    const cJSON *st = cJSON_GetObjectItem(event, "st");
    const struct {
        const char *name;
        int64_t value;
    } fields[] = {
        {"snd_una", kcp->snd_una},
        {"snd_nxt", kcp->snd_nxt},
        {"rcv_nxt", kcp->rcv_nxt},
        {"cwnd", kcp->cwnd},
        {"incr", kcp->incr},
        {"ssthresh", kcp->ssthresh},
        {"rx_rto", kcp->rx_rto},
        {"rx_srtt", kcp->rx_srtt},
        {"rx_rttval", kcp->rx_rttval},
        {"rmt_wnd", kcp->rmt_wnd},
        {"nsnd_buf", kcp->snd_buf_len},
        {"nsnd_que", kcp->snd_queue_len},
        {"nrcv_buf", kcp->rcv_buf_len},
        {"nrcv_que", kcp->rcv_queue_len},
        {"probe", kcp->probe},
        {"probe_wait", kcp->probe_wait_ms},
        {"state", kcp->dead ? -1 : 0},
        {"xmit", kcp->timeouts},
        {"ackcount", kcp->ack_count},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        ck_assert_msg((int64_t)number(st, fields[i].name) == fields[i].value,
                      "%s: %s is %lld, wanted %.0f", where, fields[i].name,
                      (long long)fields[i].value, number(st, fields[i].name));
}

static void check_sign(const cJSON *event, int got, const char *where)
{
    int wanted = (int)number(event, "ret");
    ck_assert_msg(wanted < 0 ? got < 0 : got == wanted, "%s: %d, wanted %d", where, got, wanted);
}

static void do_send(fwi_kcp *kcp, const cJSON *event, const char *where)
{
    size_t len = (size_t)number(event, "len");
    unsigned fill = (unsigned)number(event, "fill");
    uint8_t *bytes = malloc(len + 1);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(fill + 7 * i);
    check_sign(event, fwi_kcp_send(kcp, bytes, len), where);
    free(bytes);
}

static void do_recv(fwi_kcp *kcp, const cJSON *event, const char *where)
{
    int max = (int)number(event, "max");
    size_t size = (size_t)abs(max), wanted_len;
    uint8_t *bytes = malloc(size + 1);
    int got = fwi_kcp_recv(kcp, bytes, size, max < 0);
    check_sign(event, got, where);
    uint8_t *wanted = fwt_unhex(text_of(event, "hex"), &wanted_len);
    if (max >= 0) /* the recorder shows no bytes of a look */
        fwt_assert_bytes(bytes, got < 0 ? 0 : (size_t)got, wanted, wanted_len, where);
    free(wanted);
    free(bytes);
}

static void do_input(struct side *side, const cJSON *event, const char *where)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(text_of(event, "hex"), &len);
    check_sign(event, fwi_kcp_input(&side->kcp, side->now, bytes, len), where);
    free(bytes);
}

/* Settings, most of them written into the block as the recorder did. */
static bool set_up(struct side *side, const cJSON *event)
{
    const char *op = text_of(event, "op");
    fwi_kcp *kcp = &side->kcp;
    if (!strcmp(op, "create")) {
        fwi_kcp_config config;
        fwi_kcp_config_init(&config);
        fwi_kcp_init(kcp, u32(event, "conv"), &config, on_output, NULL);
        side->made = true;
    } else if (!strcmp(op, "nodelay")) {
        kcp->config.nodelay = arg_of(event, 0);
        kcp->config.interval_ms = arg_of(event, 1);
        kcp->config.resend = arg_of(event, 2);
        kcp->config.no_congestion = arg_of(event, 3);
        kcp->min_rto_ms = arg_of(event, 0) ? 30 : 100;
    } else if (!strcmp(op, "wndsize")) {
        kcp->config.send_window = u32(event, "snd_wnd");
        kcp->config.receive_window = u32(event, "rcv_wnd");
    } else if (!strcmp(op, "setmtu")) {
        kcp->config.mtu = u32(event, "mtu");
        kcp->mss = kcp->config.mtu - FWI_KCP_HEADER_BYTES;
        ck_assert_uint_eq(kcp->mss, u32(event, "mss"));
    } else if (!strcmp(op, "stream")) {
        kcp->config.stream = u32(event, "v");
    } else if (!strcmp(op, "set_seq")) {
        kcp->snd_una = kcp->snd_nxt = u32(event, "snd");
        kcp->rcv_nxt = u32(event, "rcv");
    } else if (!strcmp(op, "set_rcv_wnd")) {
        kcp->config.receive_window = u32(event, "v");
    } else if (!strcmp(op, "set_fastlimit")) {
        kcp->config.fast_limit = u32(event, "v");
    } else if (!strcmp(op, "set_minrto")) {
        kcp->min_rto_ms = u32(event, "v");
    } else {
        return false;
    }
    return true;
}

static void play(struct side *side, const cJSON *event, const char *where)
{
    const char *op = text_of(event, "op");
    fwi_kcp *kcp = &side->kcp;
    if (set_up(side, event))
        return;
    if (!strcmp(op, "send")) {
        do_send(kcp, event, where);
    } else if (!strcmp(op, "recv")) {
        do_recv(kcp, event, where);
    } else if (!strcmp(op, "input")) {
        do_input(side, event, where);
    } else if (!strcmp(op, "update")) {
        side->now = u32(event, "t");
        fwi_kcp_update(kcp, side->now);
    } else if (!strcmp(op, "flush")) {
        fwi_kcp_flush(kcp, side->now);
    } else if (!strcmp(op, "peeksize")) {
        check_sign(event, fwi_kcp_next_size(kcp), where);
    } else if (!strcmp(op, "check")) {
        ck_assert_msg(fwi_kcp_check(kcp, u32(event, "t")) == u32(event, "ret"), "%s", where);
    } else {
        ck_assert_msg(!strcmp(op, "waitsnd"), "%s: unknown operation", where);
        ck_assert_uint_eq(fwi_kcp_unsent(kcp), u32(event, "ret"));
    }
}

static size_t play_file(const char *name)
{
    char relative[300];
    snprintf(relative, sizeof relative, "vectors/kcp/%s", name);
    char *text = fwt_read_file(fwt_source_path(relative));
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    struct side sides[2] = {{.made = false}};
    size_t index = 0;
    const cJSON *event;
    cJSON_ArrayForEach(event, cJSON_GetObjectItem(json, "events"))
    {
        char where[400];
        snprintf(where, sizeof where, "%s, event %zu: %s", name, index++, text_of(event, "op"));
        struct side *side = &sides[*text_of(event, "side") == 'B'];
        play(side, event, where);
        check_outputs(event, where);
        check_state(event, &side->kcp, where);
    }
    for (size_t i = 0; i < 2; i++)
        if (sides[i].made)
            fwi_kcp_fini(&sides[i].kcp);
    cJSON_Delete(json);
    free(text);
    return index;
}

START_TEST(every_step_is_as_the_original_has_it)
{
    DIR *dir = opendir(fwt_source_path("vectors/kcp"));
    ck_assert_ptr_nonnull(dir);
    size_t files = 0, events = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        if (len < 5 || strcmp(entry->d_name + len - 5, ".json"))
            continue;
        events += play_file(entry->d_name);
        files++;
    }
    closedir(dir);
    ck_assert_uint_ge(files, 20);
    ck_assert_uint_ge(events, 3000);
}
END_TEST

/* A walle frame: its length, little-endian, and a packet whose first field is its command. */
static size_t count_frames(const uint8_t *bytes, size_t len)
{
    size_t at = 0, frames = 0;
    while (at < len) {
        ck_assert_uint_le(at + 4, len);
        size_t size = (size_t)bytes[at] | (size_t)bytes[at + 1] << 8;
        ck_assert(!bytes[at + 2] && !bytes[at + 3] && size && at + 4 + size <= len);
        ck_assert_uint_eq(bytes[at + 4], 0x08);
        at += 4 + size;
        frames++;
    }
    return frames;
}

/* What walle's client (kcp-go) wrote and read, as our engine at the other end understands it. */
START_TEST(traffic_of_walle_is_understood)
{
    static uint8_t stream[65536];
    char *text = fwt_read_file(fwt_source_path("vectors/walle/capture_kcp_json.json"));
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    fwi_kcp_config config;
    fwi_kcp_config_init(&config);
    fwi_kcp kcp;
    const cJSON *record;
    size_t len = 0;
    bool begun = false;
    cJSON_ArrayForEach(record, cJSON_GetObjectItem(json, "records"))
    {
        if (*text_of(record, "dir") != "wr"[_i])
            continue;
        size_t size;
        uint8_t *bytes = fwt_unhex(text_of(record, "hex"), &size);
        if (!begun)
            fwi_kcp_init(&kcp,
                         (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
                             (uint32_t)bytes[3] << 24,
                         &config, on_output, NULL);
        begun = true;
        FWT_OK(fwi_kcp_input(&kcp, u32(record, "us") / 1000, bytes, size));
        for (int n; (n = fwi_kcp_recv(&kcp, stream + len, sizeof stream - len, false)) >= 0;)
            len += (size_t)n;
        free(bytes);
    }
    ck_assert(begun);
    ck_assert_uint_eq(kcp.rcv_buf_len + kcp.rcv_queue_len, 0);
    ck_assert_uint_ge(count_frames(stream, len), 5);
    fwi_kcp_fini(&kcp);
    cJSON_Delete(json);
    free(text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kcp vectors");
    TCase *tcase = tcase_create("vectors");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_step_is_as_the_original_has_it);
    tcase_add_loop_test(tcase, traffic_of_walle_is_understood, 0, 2);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
