#pragma once

namespace gradwire::cli {

/// Opens /dev/null in place of each of stdin, stdout and stderr that is closed: else the next file or socket
/// would get its number, and what is printed. To be called before anything is opened.
void fill_standard_streams() noexcept;

/// Flushes stdout. False when something that was printed is lost, unless it is so because its reader left.
bool standard_output_written();

}  // namespace gradwire::cli
