#include <fairway/error.h>

#include <uv.h>

#define UNKNOWN_TEXT "unknown error"

const char *fw_strerror(int error)
{
    switch (error) {
    case FW_OK:
        return "success";
#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return text;
        FW_ERROR_MAP(X)
#undef X
    default:
        break;
    }
    /* uv_strerror allocates (and leaks) for numbers that it does not know. */
    switch (error) {
#define X(name, text)                                                                              \
    case UV_##name:                                                                                \
        return text;
        UV_ERRNO_MAP(X)
#undef X
    default:
        return UNKNOWN_TEXT;
    }
}

const char *fw_error_name(int error)
{
    switch (error) {
    case FW_OK:
        return "OK";
#define X(name, number, text)                                                                      \
    case number:                                                                                   \
        return #name;
        FW_ERROR_MAP(X)
#undef X
    default:
        break;
    }
    switch (error) {
#define X(name, text)                                                                              \
    case UV_##name:                                                                                \
        return #name;
        UV_ERRNO_MAP(X)
#undef X
    default:
        return "UNKNOWN";
    }
}
