/*
 * Logging. The libraries are silent until a program installs a sink; then every entry is a level, a
 * component ("gateway", "registrar"), a fixed message and typed fields, so that a sink can write
 * logfmt or JSON without parsing. fw_log_stderr is such a sink, with rate limiting.
 */
#ifndef FAIRWAY_LOG_H
#define FAIRWAY_LOG_H

#include <fairway/base.h>

FW_BEGIN_DECLS

typedef enum fw_log_level {
    FW_LOG_DEBUG,
    FW_LOG_INFO,
    FW_LOG_WARN,
    FW_LOG_ERROR,
    FW_LOG_OFF
} fw_log_level;

typedef enum fw_log_type { FW_LOG_TEXT, FW_LOG_NUMBER } fw_log_type;

/* One field; the array given to a sink ends with key == NULL. */
typedef struct fw_log_field {
    const char *key;
    fw_log_type type;
    const char *text;
    long long number;
} fw_log_field;

/* Called on the thread that logs; must not block for long and must not call into fairway. */
typedef void (*fw_log_fn)(fw_log_level level, const char *component, const char *message,
                          const fw_log_field *fields, void *arg);

/* Installs the sink of the process (NULL: silence) and the lowest level that reaches it. Call it
 * before the first loop runs; it is not synchronised with logging threads. */
FW_API void fw_log_set(fw_log_level lowest, fw_log_fn sink, void *arg);

/* A ready sink: one line an entry on stderr. arg is an fw_log_format. The same (component, message)
 * is written at most 20 times a second; what was left out is counted in the next line. */
typedef enum fw_log_format { FW_LOG_LOGFMT, FW_LOG_JSON } fw_log_format;
FW_API void fw_log_stderr(fw_log_level level, const char *component, const char *message,
                          const fw_log_field *fields, void *arg);

/* Parses "debug", "info", "warn", "error" or "off". FW_EOPTION otherwise. */
FW_API int fw_log_level_parse(const char *text, fw_log_level *ret_level);

FW_END_DECLS

#endif
