import Glibc
import Server

exit(Floe.run(Array(CommandLine.arguments.dropFirst())))
