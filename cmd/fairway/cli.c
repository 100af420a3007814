#include "cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- printing ---- */

int cli_fail(int code, const char *what, const char *why)
{
    char line[2600];
    snprintf(line, sizeof line, "fairway: %.1500s: %s", what, why);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' '; /* one line, whatever is quoted in it */
    fprintf(stderr, "%s\n", line);
    return code;
}

int cli_exit_code(int error)
{
    switch (error) {
    case FW_OK:
        return EXIT_DONE;
    case FW_EURL:
    case FW_ESCHEME:
    case FW_EOPTION:
    case FW_EKEY:
    case FW_EVALUESIZE:
    case FW_ESERVICE:
    case FW_EINSTANCE:
        return EXIT_USAGE;
    case FW_EUNREACHABLE:
    case FW_EDEADLINE:
    case FW_EUNKNOWN:
        return EXIT_UNREACHABLE;
    case FW_EEXISTS:
    case FW_EMODIFIED:
    case FW_ELOCKED:
        return EXIT_CONFLICT;
    default:
        return EXIT_FAILED;
    }
}

int cli_fail_error(const char *what, int error, const char *detail)
{
    char why[1024];
    bool has_detail = detail && *detail;
    snprintf(why, sizeof why, "%s%s%s", fw_strerror(error), has_detail ? ": " : "",
             has_detail ? detail : "");
    return cli_fail(cli_exit_code(error), what, why);
}

void cli_print_json(cJSON *json)
{
    char *text = cJSON_PrintUnformatted(json);
    if (text)
        puts(text);
    fflush(stdout);
    free(text);
    cJSON_Delete(json);
}

static char *base64(fw_slice bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *in = bytes.data;
    char *text = malloc((bytes.len + 2) / 3 * 4 + 1), *out = text;
    for (size_t i = 0; text && i < bytes.len; i += 3) {
        size_t left = bytes.len - i;
        uint32_t word = (uint32_t)in[i] << 16 | (uint32_t)(left > 1 ? in[i + 1] : 0) << 8 |
                        (uint32_t)(left > 2 ? in[i + 2] : 0);
        *out++ = digits[word >> 18];
        *out++ = digits[word >> 12 & 63];
        *out++ = left > 1 ? digits[word >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[word & 63] : '=';
    }
    if (text)
        *out = 0;
    return text;
}

/* UTF-8 without NUL, as a JSON string can hold it. cJSON passes bytes through, so this is checked
 * here. */
static bool is_text(fw_slice bytes)
{
    const uint8_t *p = bytes.data, *end = p + bytes.len;
    while (p < end) {
        unsigned more = *p < 0x80                  ? 0
                        : *p >= 0xc2 && *p <= 0xdf ? 1
                        : *p >= 0xe0 && *p <= 0xef ? 2
                        : *p >= 0xf0 && *p <= 0xf4 ? 3
                                                   : 9;
        if (!*p || more == 9 || (size_t)(end - p) <= more)
            return false;
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xf0 && p[1] < 0x90) || /* longer than needed */
            (*p == 0xed && p[1] > 0x9f) ||                                /* a surrogate */
            (*p == 0xf4 && p[1] > 0x8f)) /* beyond the last code point */
            return false;
        for (unsigned i = 1; i <= more; i++)
            if ((p[i] & 0xc0) != 0x80)
                return false;
        p += more + 1;
    }
    return true;
}

void cli_json_add_bytes(cJSON *json, const char *name, fw_slice bytes)
{
    if (is_text(bytes)) {
        char *text = strndup(bytes.data ? bytes.data : "", bytes.len);
        cJSON_AddStringToObject(json, name, text ? text : "");
        free(text);
        return;
    }
    char key[64], *text = base64(bytes);
    snprintf(key, sizeof key, "%s_base64", name);
    cJSON_AddStringToObject(json, key, text ? text : "");
    free(text);
}

void cli_json_add_int64(cJSON *json, const char *name, int64_t number)
{
    static const int64_t exact = INT64_C(1) << 53;
    if (number >= -exact && number <= exact) {
        cJSON_AddNumberToObject(json, name, (double)number);
        return;
    }
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)number);
    cJSON_AddStringToObject(json, name, text);
}

/* ---- the loop and the store ---- */

static void on_signal(uv_signal_t *handle, int signal)
{
    cli_context *cli = handle->data;
    if (cli->stopped)
        _exit(128 + signal); /* asked twice: now */
    if (cli->on_signal) {
        cli->stopped = true;
        cli->on_signal(cli, signal, cli->signal_arg);
    } else {
        cli_stop(cli, EXIT_DONE);
    }
}

int cli_open(cli_context *cli)
{
    int err = fw_loop_new(&cli->loop);
    if (err)
        return cli_fail_error("event loop", err, NULL);
    static const int numbers[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        uv_signal_init(fw_loop_uv(cli->loop), &cli->signals[i]);
        cli->signals[i].data = cli;
        uv_signal_start(&cli->signals[i], on_signal, numbers[i]);
        cli->open_signals++;
    }
    return -1;
}

/* The store that is used when none is named: embedded, in the place for a user's or the machine's
 * state. */
static const char *default_store(void)
{
    static char url[1100];
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (geteuid() == 0)
        snprintf(url, sizeof url, "lmdb:/var/lib/fairway");
    else if (state && *state)
        snprintf(url, sizeof url, "lmdb:%s/fairway", state);
    else
        snprintf(url, sizeof url, "lmdb:%s/.local/state/fairway", home ? home : "/tmp");
    return url;
}

const char *cli_store_url(const cli_context *cli)
{
    return cli->store ? cli->store : default_store();
}

static void close_loop(cli_context *cli);

int cli_open_store(cli_context *cli)
{
    cli->store = cli_store_url(cli);
    char detail[512];
    fw_kv_options options = {
        .timeout_ms = cli->timeout_ms, .detail = detail, .detail_size = sizeof detail};
    int err = fw_kv_open(cli->loop, cli->store, &options, &cli->kv);
    if (!err)
        return -1;
    close_loop(cli);
    return cli_fail_error(cli->store, err, detail);
}

void cli_stop(cli_context *cli, int exit_code)
{
    if (!cli->stopped || exit_code)
        cli->exit_code = exit_code;
    cli->stopped = true;
    fw_loop_stop(cli->loop);
}

static void close_loop(cli_context *cli)
{
    for (unsigned i = 0; i < cli->open_signals; i++)
        uv_close((uv_handle_t *)&cli->signals[i], NULL);
    fw_loop_run(cli->loop);
    int err = fw_loop_close(cli->loop);
    if (err) /* an object was left open: a mistake in the program */
        cli_fail_error("event loop", err, NULL);
}

int cli_run(cli_context *cli)
{
    fw_loop_run(cli->loop);
    if (cli->kv)
        fw_kv_close(cli->kv, NULL, NULL);
    close_loop(cli);
    return cli->exit_code;
}
