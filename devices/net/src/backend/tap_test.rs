//! Tests of TAPs.
