#include <stddef.h>

/// A file of the call page as it stands in the program's read-only data.
typedef struct {
    const char *_Nonnull name;
    const char *_Nonnull content_type;
    const unsigned char *_Nonnull bytes;
    size_t count;
} floe_page_file;

/// How many files there are.
size_t floe_page_file_count(void);

/// The file of that position, which must be less than the count.
floe_page_file floe_page_file_at(size_t index);
