/*
 * fairway ping: round trips over any transport, to `fairway serve echo` or whatever sends bytes
 * back.
 *
 *     DIALLING -> PINGING -> CLOSING -> (summary)
 *
 * Packets are numbered from 1. What is known of each stands in a ring; `oldest` is the first that
 * is neither answered nor given up. An answer after --timeout is late: it was counted as lost, and
 * is not any more.
 */
#include "cli.h"
#include "echo.h"
#include "ping_packet.h"

#include <fairway/transport.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RING   16384 /* so many may be under way; older ones are given up */
#define NS_MS  1000000.0
#define MIN_MS 1

enum state { DIALLING, PINGING, CLOSING };
enum fate { WAITING, ANSWERED, LOST };

struct sent {
    uint64_t number, at_ns;
    enum fate fate;
};

struct ping {
    cli_context *cli;
    const char *url;
    uint32_t size, count, interval_ms;
    bool quiet;

    enum state state;
    bool was_open;
    int exit_code; /* -1: as the answers are */
    fw_conn *conn;
    uint8_t *packet;
    ping_reader reader;
    uv_timer_t next, give_up;
    uint64_t dialled_ns, opened_ns;

    struct sent ring[RING];
    uint64_t sent, oldest;
    uint64_t answered, late, lost, duplicates, errors, damaged;
    double min_ms, max_ms, sum_ms, sum_squares; /* of those in time, and of the late ones */
};

/* ---- words ---- */

/* With three decimals, as it is printed. */
static double rounded(double ms)
{
    return round(ms * 1000) / 1000;
}

/* One line; note is "" or has a space in front. */
static void print_packet(const struct ping *ping, const char *event, uint64_t number, double ms,
                         const char *note)
{
    bool has_time = ms >= 0;
    if (ping->quiet)
        return;
    if (ping->cli->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "event", event);
        cli_json_add_int64(json, "seq", (int64_t)number);
        if (has_time)
            cJSON_AddNumberToObject(json, "rtt_ms", rounded(ms));
        if (*note)
            cJSON_AddStringToObject(json, "note", note);
        cli_print_json(json);
        return;
    }
    if (has_time)
        printf("%u bytes from %s: seq=%llu time=%.3f ms%s%s%s\n", ping->size, ping->url,
               (unsigned long long)number, ms, *note ? " (" : "", note, *note ? ")" : "");
    else
        printf("no answer from %s: seq=%llu\n", ping->url, (unsigned long long)number);
    fflush(stdout);
}

static void print_open(const struct ping *ping)
{
    double ms = (double)(ping->opened_ns - ping->dialled_ns) / NS_MS;
    if (ping->cli->json) {
        cJSON *json = cJSON_CreateObject();
        cJSON_AddStringToObject(json, "event", "open");
        cJSON_AddStringToObject(json, "url", ping->url);
        cJSON_AddNumberToObject(json, "size", ping->size);
        cJSON_AddBoolToObject(json, "messages", fw_conn_has_messages(ping->conn));
        cJSON_AddNumberToObject(json, "connect_ms", rounded(ms));
        cli_print_json(json);
        return;
    }
    printf("PING %s: %u bytes, %s, connected in %.3f ms\n", ping->url, ping->size,
           fw_conn_has_messages(ping->conn) ? "messages" : "stream", ms);
    fflush(stdout);
}

static void print_summary_json(const struct ping *ping, double mean, double deviation)
{
    cJSON *json = cJSON_CreateObject(), *rtt;
    const struct {
        const char *name;
        uint64_t number;
    } counts[] = {
        {"sent", ping->sent},      {"answered", ping->answered},     {"late", ping->late},
        {"lost", ping->lost},      {"duplicates", ping->duplicates}, {"errors", ping->errors},
        {"damaged", ping->damaged}};
    cJSON_AddStringToObject(json, "event", "summary");
    cJSON_AddStringToObject(json, "url", ping->url);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        cli_json_add_int64(json, counts[i].name, (int64_t)counts[i].number);
    if (ping->answered && (rtt = cJSON_AddObjectToObject(json, "rtt_ms"))) {
        cJSON_AddNumberToObject(rtt, "min", rounded(ping->min_ms));
        cJSON_AddNumberToObject(rtt, "avg", rounded(mean));
        cJSON_AddNumberToObject(rtt, "max", rounded(ping->max_ms));
        cJSON_AddNumberToObject(rtt, "mdev", rounded(deviation));
    }
    cli_print_json(json);
}

static void print_more(const char *what, uint64_t count)
{
    if (count)
        printf(", %llu %s", (unsigned long long)count, what);
}

static void print_summary(const struct ping *ping)
{
    double n = ping->answered ? (double)ping->answered : 1, mean = ping->sum_ms / n;
    double variance = ping->sum_squares / n - mean * mean, deviation = sqrt(fmax(variance, 0));
    if (ping->cli->json) {
        print_summary_json(ping, mean, deviation);
        return;
    }
    double total_ms = (double)(uv_hrtime() - ping->opened_ns) / NS_MS;
    double loss = ping->sent ? 100 * (double)ping->lost / (double)ping->sent : 0;
    printf("--- %s ping statistics ---\n%llu sent, %llu answered, %llu lost (%.3g%%)", ping->url,
           (unsigned long long)ping->sent, (unsigned long long)ping->answered,
           (unsigned long long)ping->lost, loss);
    print_more("late", ping->late);
    print_more("duplicate", ping->duplicates);
    print_more("errors", ping->errors);
    print_more("damaged", ping->damaged);
    printf(", time %.0f ms\n", total_ms);
    if (ping->answered)
        printf("rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n", ping->min_ms, mean, ping->max_ms,
               deviation);
    fflush(stdout);
}

/* ---- the end ---- */

static int answers_code(const struct ping *ping)
{
    if (!ping->answered)
        return cli_fail_error(ping->url, FW_EDEADLINE, "no answer came");
    return ping->damaged ? cli_fail(EXIT_FAILED, ping->url, "answers with other bytes") : EXIT_DONE;
}

/* Where datagrams go, a dial asks nobody: a refusal comes with the first of them. */
static int connection_code(const struct ping *ping, int reason)
{
    bool was_reached = reason == FW_ETLS || reason == FW_EPROTOCOL || reason == FW_EAUTH;
    if (ping->state == DIALLING)
        return was_reached ? EXIT_FAILED : EXIT_UNREACHABLE;
    return reason == UV_ECONNREFUSED ? EXIT_UNREACHABLE : EXIT_FAILED;
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    struct ping *ping = arg;
    int code = ping->exit_code;
    if (ping->state != CLOSING) {
        cli_fail_error(ping->url, reason, fw_conn_errmsg(conn));
        code = connection_code(ping, reason);
    }
    for (; ping->state == PINGING && ping->oldest <= ping->sent; ping->oldest++)
        ping->lost += ping->ring[ping->oldest % RING].fate == WAITING;
    uv_close((uv_handle_t *)&ping->next, NULL);
    uv_close((uv_handle_t *)&ping->give_up, NULL);
    if (ping->was_open)
        print_summary(ping);
    cli_stop(ping->cli, code >= 0 ? code : answers_code(ping));
}

/* exit_code: -1 as the answers are. */
static void finish(struct ping *ping, int exit_code)
{
    if (ping->state == CLOSING)
        return;
    ping->state = CLOSING;
    ping->exit_code = exit_code;
    uv_timer_stop(&ping->next);
    uv_timer_stop(&ping->give_up);
    fw_conn_close(ping->conn, FW_ECANCELED);
}

static void on_signal(cli_context *cli, int signal, void *arg)
{
    (void)cli;
    struct ping *ping = arg;
    finish(ping, ping->was_open ? -1 : 128 + signal);
}

/* ---- packets ---- */

static void on_give_up(uv_timer_t *timer);

/* Goes on from the oldest: over what is decided, and what has waited too long. */
static void look_at_oldest(struct ping *ping)
{
    uint64_t now_ns = uv_hrtime(), patience_ns = (uint64_t)ping->cli->timeout_ms * 1000000;
    for (; ping->oldest <= ping->sent; ping->oldest++) {
        struct sent *sent = &ping->ring[ping->oldest % RING];
        if (sent->fate != WAITING)
            continue;
        uint64_t age_ns = now_ns - sent->at_ns;
        if (age_ns < patience_ns && ping->sent - ping->oldest < RING - 1) {
            uv_timer_start(&ping->give_up, on_give_up, (patience_ns - age_ns) / 1000000 + 1, 0);
            return;
        }
        sent->fate = LOST;
        ping->lost++;
        print_packet(ping, "lost", ping->oldest, -1, "");
    }
    if (ping->count && ping->sent == ping->count)
        finish(ping, -1);
}

static void on_give_up(uv_timer_t *timer)
{
    look_at_oldest(timer->data);
}

static void on_next(uv_timer_t *timer)
{
    struct ping *ping = timer->data;
    if (fw_conn_congested(ping->conn))
        return; /* it would measure our own queue */
    uint64_t number = ping->sent + 1;
    size_t len = ping_write(ping->packet, number, ping->size);
    size_t skip = fw_conn_has_messages(ping->conn) ? PING_LENGTH_BYTES : 0;
    int err = fw_conn_write(ping->conn, ping->packet + skip, len - skip);
    if (err) {
        finish(ping, cli_fail_error(ping->url, err, NULL));
        return;
    }
    ping->ring[number % RING] = (struct sent){.number = number, .at_ns = uv_hrtime()};
    ping->sent = number;
    if (number == ping->count)
        uv_timer_stop(&ping->next);
    look_at_oldest(ping);
}

static void add_time(struct ping *ping, double ms)
{
    if (!ping->answered || ms < ping->min_ms)
        ping->min_ms = ms;
    if (ms > ping->max_ms)
        ping->max_ms = ms;
    ping->sum_ms += ms;
    ping->sum_squares += ms * ms;
    ping->answered++;
}

static void take(struct ping *ping, const ping_answer *answer)
{
    struct sent *sent = &ping->ring[answer->number % RING];
    const char *note = answer->is_error ? "an error" : answer->is_damaged ? "damaged" : "";
    if (!answer->number || sent->number != answer->number) {
        ping->damaged++; /* nothing that we have sent, or very old */
        return;
    }
    double ms = (double)(uv_hrtime() - sent->at_ns) / NS_MS;
    if (sent->fate == ANSWERED) {
        ping->duplicates++;
        print_packet(ping, "duplicate", answer->number, ms, "duplicate");
        return;
    }
    bool is_late = sent->fate == LOST;
    sent->fate = ANSWERED;
    ping->late += is_late;
    ping->lost -= is_late;
    ping->errors += answer->is_error;
    ping->damaged += answer->is_damaged;
    add_time(ping, ms);
    print_packet(ping, is_late ? "late" : "answer", answer->number, ms,
                 is_late && !*note ? "late" : note);
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    struct ping *ping = arg;
    ping_answer answer;
    if (ping->state != PINGING)
        return;
    if (fw_conn_has_messages(conn)) {
        if (ping_read_message(&ping->reader, data, len, &answer))
            ping->damaged++;
        else
            take(ping, &answer);
        len = 0;
    }
    while (len) {
        size_t taken;
        bool has_answer;
        int err = ping_reader_push(&ping->reader, data, len, &taken, &has_answer, &answer);
        if (err) {
            finish(ping, cli_fail_error(ping->url, err, "this is no answer of an echo service"));
            return;
        }
        data += taken;
        len -= taken;
        if (has_answer)
            take(ping, &answer);
    }
    look_at_oldest(ping);
}

static void on_open(fw_conn *conn, void *arg)
{
    (void)conn;
    struct ping *ping = arg;
    ping->state = PINGING;
    ping->was_open = true;
    ping->opened_ns = uv_hrtime();
    print_open(ping);
    uv_timer_start(&ping->next, on_next, 0, ping->interval_ms);
}

/* ---- the command ---- */

static int run(struct ping *ping, const char *url)
{
    cli_context *cli = ping->cli;
    int rc = cli_open(cli);
    if (rc >= 0)
        return rc;
    fw_conn_options options = {
        .dial_timeout_ms = cli->timeout_ms,
        .messages = cli_echo_wants_messages(url),
        .max_message_bytes = PING_MAX_SIZE + 2 * PING_HEAD_SIZE,
        .events = {.on_open = on_open, .on_data = on_data, .on_closed = on_closed},
        .arg = ping};
    ping->dialled_ns = uv_hrtime();
    int err = fw_conn_dial(cli->loop, url, &options, &ping->conn);
    if (err) {
        cli_stop(cli, cli_fail_error(ping->url, err, NULL));
        return cli_run(cli);
    }
    uv_timer_init(fw_loop_uv(cli->loop), &ping->next);
    uv_timer_init(fw_loop_uv(cli->loop), &ping->give_up);
    ping->next.data = ping->give_up.data = ping;
    cli->on_signal = on_signal;
    cli->signal_arg = ping;
    return cli_run(cli);
}

/* With the memory that it needs. */
static int prepare_and_run(struct ping *ping, const cli_tls_options *tls)
{
    char *url = NULL;
    int err = cli_tls_url(tls, ping->url, &url);
    ping->oldest = 1;
    ping->packet = malloc(PING_HEAD_SIZE + ping->size);
    if (!err)
        err = ping->packet ? ping_reader_init(&ping->reader, ping->size) : UV_ENOMEM;
    int rc = err ? cli_fail_error(ping->url, err, NULL) : run(ping, url);
    ping_reader_fini(&ping->reader);
    free(ping->packet);
    free(url);
    return rc;
}

int cmd_ping(cli_context *cli, int argc, char **argv)
{
    cli_tls_options tls = {NULL, NULL, NULL};
    struct ping *ping = calloc(1, sizeof *ping);
    if (!ping)
        return cli_fail_error("ping", UV_ENOMEM, NULL);
    ping->cli = cli;
    ping->size = 56;
    ping->interval_ms = 1000;
    const cli_option options[] = {
        {"count", NULL, CLI_UINT, &ping->count, "N",
         "so many, then end (default 0: until stopped)"},
        {"interval", NULL, CLI_DURATION, &ping->interval_ms, "DUR", "between two (default 1s)"},
        {"size", NULL, CLI_UINT, &ping->size, "BYTES", "besides some twenty (default 56)"},
        {"quiet", NULL, CLI_FLAG, &ping->quiet, NULL, "only the beginning and the summary"},
        CLI_TLS_OPTIONS(&tls),
        CLI_END,
    };
    int count,
        rc = cli_parse(
            cli, options, "URL",
            "Measures round trips to `fairway serve echo`, or whatever sends bytes back, over any\n"
            "transport: tcp, tls, ws, wss, kcp, kcps, snet, udp ://host:port, unix:/path. An "
            "answer "
            "that does\n"
            "not come within --timeout is lost; one that comes after that is late. Exits with 0 if "
            "there was\n"
            "an answer, with 1 if the connection was lost or other bytes came back, with 3 if "
            "there "
            "was no\n"
            "connection, or no answer.",
            argc, argv, 1, 1, &count);
    if (rc < 0 && ping->interval_ms < MIN_MS)
        rc = cli_fail(EXIT_USAGE, "--interval", "at least 1ms");
    if (rc < 0 && ping->size > PING_MAX_SIZE)
        rc = cli_fail(EXIT_USAGE, "--size", "at most 1000000");
    ping->url = argv[0];
    if (rc < 0 && cli_tls_is_given(&tls) && !cli_tls_applies(ping->url))
        rc = cli_fail(EXIT_USAGE, "--tls-cert, --tls-key, --tls-ca",
                      "for tls: and wss: URLs, and this is none");
    if (rc < 0)
        rc = prepare_and_run(ping, &tls);
    free(ping);
    return rc;
}
