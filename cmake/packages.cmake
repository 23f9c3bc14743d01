#  Debian packages of the installed files: libdafka0 (runtime), libdafka-dev (development), dafka-tools (tools).
#
#  CPack splits them by component. Debian also wants compressed manual pages, and a copyright file and a changelog in
#  each package: they are made here.

set (DAFKA_MAINTAINER "The Dafka maintainers <maintainers@dafka.example>" CACHE STRING "Who makes the packages")
set (debian_revision 1)

find_program (GZIP gzip REQUIRED)

#  Without name and time in the header, so that the same input gives the same package.
function (compress source target)
    get_filename_component (dir ${target} DIRECTORY)
    file (MAKE_DIRECTORY ${dir})
    execute_process (COMMAND ${GZIP} --best --no-name --stdout ${source}
        OUTPUT_FILE ${target} COMMAND_ERROR_IS_FATAL ANY)
endfunction ()

set (compressed_pages)
foreach (page ${pages})
    get_filename_component (name ${page} NAME)
    compress (${page} ${CMAKE_CURRENT_BINARY_DIR}/man/${name}.gz)
    list (APPEND compressed_pages ${CMAKE_CURRENT_BINARY_DIR}/man/${name}.gz)
endforeach ()
set (pages ${compressed_pages})

string (TIMESTAMP package_date "%a, %d %b %Y %H:%M:%S +0000" UTC)
configure_file (cmake/debian/changelog.in ${CMAKE_CURRENT_BINARY_DIR}/changelog.Debian @ONLY)
compress (${CMAKE_CURRENT_BINARY_DIR}/changelog.Debian ${CMAKE_CURRENT_BINARY_DIR}/changelog.Debian.gz)
compress (${CMAKE_CURRENT_SOURCE_DIR}/CHANGELOG.md ${CMAKE_CURRENT_BINARY_DIR}/changelog.gz)
foreach (package "runtime libdafka0" "development libdafka-dev" "tools dafka-tools")
    separate_arguments (package)
    list (GET package 0 component)
    list (GET package 1 name)
    install (FILES
        ${CMAKE_CURRENT_SOURCE_DIR}/cmake/debian/copyright
        ${CMAKE_CURRENT_BINARY_DIR}/changelog.gz
        ${CMAKE_CURRENT_BINARY_DIR}/changelog.Debian.gz
        DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/${name}
        COMPONENT ${component})
endforeach ()

set (CPACK_GENERATOR DEB)
set (CPACK_PACKAGE_NAME dafka)
set (CPACK_PACKAGE_VENDOR "")
set (CPACK_PACKAGE_CONTACT "${DAFKA_MAINTAINER}")
set (CPACK_PACKAGING_INSTALL_PREFIX /usr)
set (CPACK_COMPONENTS_ALL runtime development tools)
set (CPACK_DEB_COMPONENT_INSTALL ON)
set (CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set (CPACK_DEBIAN_PACKAGE_RELEASE ${debian_revision})
set (CPACK_DEBIAN_PACKAGE_SOURCE dafka)
set (CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set (CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set (CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set (full_version ${PROJECT_VERSION}-${debian_revision})

set (about "Dafka streams records between programs without a broker: producers publish to
topics, consumers read them, stores keep them on disk, all over ZeroMQ.
.")
set (CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libdafka0)
set (CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
#  Programs linked with the library depend on this version or a newer one.
file (WRITE ${CMAKE_CURRENT_BINARY_DIR}/shlibs "libdafka ${soversion} libdafka0 (>= ${PROJECT_VERSION})\n")
set (CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_BINARY_DIR}/shlibs ${CMAKE_CURRENT_SOURCE_DIR}/cmake/debian/triggers)
set (CPACK_COMPONENT_RUNTIME_DESCRIPTION "decentralized, distributed streaming on ZeroMQ - library
${about}
This package has the shared library.")

set (CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libdafka-dev)
set (CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set (CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SHLIBDEPS OFF)
set (CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
    "libdafka0 (= ${full_version}), libczmq-dev (>= 4.2), libzmq3-dev (>= 4.3)")
set (CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "decentralized, distributed streaming on ZeroMQ - development files
${about}
 This package has what programs that use the library are built with: headers,
the static library, and its description for pkg-config and CMake.")

set (CPACK_DEBIAN_TOOLS_PACKAGE_NAME dafka-tools)
set (CPACK_DEBIAN_TOOLS_PACKAGE_SECTION net)
set (CPACK_COMPONENT_TOOLS_DESCRIPTION "decentralized, distributed streaming on ZeroMQ - programs
${about}
This package has the programs: the tower, which introduces nodes to each
other, the store, and producers and consumers for the command line.")

include (CPack)
