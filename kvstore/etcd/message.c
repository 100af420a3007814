#include "message.h"

#include <grpc/byte_buffer_reader.h>

#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
#define READS_UNSEEN_BEGIN() AnnotateIgnoreReadsBegin(__FILE__, __LINE__)
#define READS_UNSEEN_END()   AnnotateIgnoreReadsEnd(__FILE__, __LINE__)
#define OWN_SLICE(slice)                                                                           \
    grpc_slice_from_copied_buffer((const char *)GRPC_SLICE_START_PTR(slice),                       \
                                  GRPC_SLICE_LENGTH(slice))
#else
#define READS_UNSEEN_BEGIN() ((void)0)
#define READS_UNSEEN_END()   ((void)0)
#define OWN_SLICE(slice)     grpc_slice_ref(slice)
#endif

grpc_slice fwi_grpc_message_read(grpc_byte_buffer *buffer)
{
    grpc_byte_buffer_reader reader;
    grpc_slice slice = grpc_empty_slice();
    READS_UNSEEN_BEGIN();
    if (buffer && grpc_byte_buffer_reader_init(&reader, buffer)) {
        const grpc_slice_buffer *slices = &reader.buffer_out->data.raw.slice_buffer;
        if (slices->count == 1)
            slice = OWN_SLICE(slices->slices[0]);
        else
            slice = grpc_byte_buffer_reader_readall(&reader);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    READS_UNSEEN_END();
    return slice;
}
