#include "base/log.h"

#include <fairway/error.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RATE_SLOTS      64
#define RATE_PER_SECOND 20
#define LINE_MAX_BYTES  2048

static fw_log_level lowest_level = FW_LOG_OFF;
static fw_log_fn log_sink;
static void *log_arg;

void fw_log_set(fw_log_level lowest, fw_log_fn sink, void *arg)
{
    log_sink = sink;
    log_arg = arg;
    lowest_level = sink ? lowest : FW_LOG_OFF;
}

bool fwi_log_enabled(fw_log_level level)
{
    return level >= lowest_level && level < FW_LOG_OFF;
}

void fwi_log_write(fw_log_level level, const char *component, const char *message,
                   const fw_log_field *fields)
{
    log_sink(level, component, message, fields, log_arg);
}

static const char *const level_names[] = {"debug", "info", "warn", "error", "off"};

int fw_log_level_parse(const char *text, fw_log_level *ret_level)
{
    for (int i = FW_LOG_DEBUG; i <= FW_LOG_OFF; i++)
        if (!strcmp(text, level_names[i])) {
            *ret_level = (fw_log_level)i;
            return FW_OK;
        }
    return FW_EOPTION;
}

/* A line under construction; what does not fit is cut, the line end never is. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
};

static void line_put(struct line *line, const char *text)
{
    size_t n = strlen(text), room = sizeof line->text - 1 - line->len;
    if (n > room)
        n = room;
    memcpy(line->text + line->len, text, n);
    line->len += n;
}

/* Quoted where JSON or logfmt needs it: control characters and quotes escaped. */
static void line_put_quoted(struct line *line, const char *text)
{
    line_put(line, "\"");
    for (const char *p = text; *p; p++) {
        char one[8];
        if (*p == '"' || *p == '\\')
            snprintf(one, sizeof one, "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            snprintf(one, sizeof one, "\\u%04x", (unsigned char)*p);
        else
            snprintf(one, sizeof one, "%c", *p);
        line_put(line, one);
    }
    line_put(line, "\"");
}

static bool needs_quotes(const char *text)
{
    if (!*text)
        return true;
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p <= ' ' || *p == '"' || *p == '=' || *p == '\\')
            return true;
    return false;
}

static void line_put_field(struct line *line, fw_log_format format, const char *key,
                           const char *text)
{
    if (format == FW_LOG_JSON) {
        line_put(line, line->len ? "," : "{");
        line_put_quoted(line, key);
        line_put(line, ":");
        line_put_quoted(line, text);
        return;
    }
    if (line->len)
        line_put(line, " ");
    line_put(line, key);
    line_put(line, "=");
    if (needs_quotes(text))
        line_put_quoted(line, text);
    else
        line_put(line, text);
}

static void line_put_number(struct line *line, fw_log_format format, const char *key,
                            long long number)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", number);
    if (format == FW_LOG_JSON) {
        line_put(line, line->len ? "," : "{");
        line_put_quoted(line, key);
        line_put(line, ":");
        line_put(line, text);
    } else {
        line_put_field(line, format, key, text);
    }
}

/* Counts an entry against its second. Returns false if it is over the rate; *ret_left_out is what
 * was left out of the second before. */
static bool within_rate(const char *component, const char *message, time_t second,
                        unsigned *ret_left_out)
{
    static struct {
        time_t second;
        unsigned count;
    } slots[RATE_SLOTS];
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    uint32_t hash = 2166136261u; /* FNV-1a over both texts */
    for (const char *p = component; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 16777619u;
    for (const char *p = message; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 16777619u;
    *ret_left_out = 0;
    pthread_mutex_lock(&mutex);
    bool within = true;
    unsigned i = hash % RATE_SLOTS;
    if (slots[i].second != second) {
        if (slots[i].count > RATE_PER_SECOND)
            *ret_left_out = slots[i].count - RATE_PER_SECOND;
        slots[i].second = second;
        slots[i].count = 0;
    }
    within = ++slots[i].count <= RATE_PER_SECOND;
    pthread_mutex_unlock(&mutex);
    return within;
}

void fw_log_stderr(fw_log_level level, const char *component, const char *message,
                   const fw_log_field *fields, void *arg)
{
    fw_log_format format = arg ? *(const fw_log_format *)arg : FW_LOG_LOGFMT;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    unsigned left_out;
    if (!within_rate(component, message, now.tv_sec, &left_out))
        return;

    char stamp[40];
    struct tm utc;
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(stamp + n, sizeof stamp - n, ".%03ldZ", now.tv_nsec / 1000000);

    struct line line = {.len = 0};
    line_put_field(&line, format, "ts", stamp);
    line_put_field(&line, format, "level", level_names[level]);
    line_put_field(&line, format, "component", component);
    line_put_field(&line, format, "msg", message);
    for (const fw_log_field *field = fields; field->key; field++) {
        if (field->type == FW_LOG_NUMBER)
            line_put_number(&line, format, field->key, field->number);
        else
            line_put_field(&line, format, field->key, field->text ? field->text : "");
    }
    if (left_out)
        line_put_number(&line, format, "left_out", left_out);
    if (format == FW_LOG_JSON)
        line_put(&line, "}");
    line.text[line.len++] = '\n';
    fwrite(line.text, 1, line.len, stderr);
}
