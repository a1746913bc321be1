module example

go 1.19

require causerie v0.0.0

replace causerie => ../../bindings/go
