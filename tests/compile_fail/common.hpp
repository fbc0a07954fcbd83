// SPDX-License-Identifier: Apache-2.0
#pragma once

// What most of the wrong programs include, compiled once for all of them; first what tells
// mistakes, for clang prints the whole way to it.
// clang-format off
#include <nxd/dist/fits.hpp>
#include <nxd/autodiff/world.hpp>
// clang-format on
#include <nxd/autodiff/contract.hpp>
#include <nxd/nn/dims.hpp>
#include <nxd/tensor/meta.hpp>
