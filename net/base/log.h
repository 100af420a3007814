/* How the libraries log: fwi_log(FW_LOG_WARN, "gateway", "connection closed", FWI_TEXT("reason",
 * r)). */
#ifndef FWI_LOG_H
#define FWI_LOG_H

#include <fairway/log.h>

#define FWI_TEXT(key, value)                                                                       \
    {                                                                                              \
        (key), FW_LOG_TEXT, (value), 0                                                             \
    }
#define FWI_NUMBER(key, value)                                                                     \
    {                                                                                              \
        (key), FW_LOG_NUMBER, NULL, (long long)(value)                                             \
    }
#define fwi_log(level, component, message, ...)                                                    \
    do {                                                                                           \
        if (fwi_log_enabled(level))                                                                \
            fwi_log_write(level, component, message,                                               \
                          (const fw_log_field[]){__VA_ARGS__, {NULL, FW_LOG_TEXT, NULL, 0}});      \
    } while (0)

FWI_API bool fwi_log_enabled(fw_log_level level);
FWI_API void fwi_log_write(fw_log_level level, const char *component, const char *message,
                           const fw_log_field *fields);

#endif
