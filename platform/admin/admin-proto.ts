import { loadPackageDefinition, type ServiceDefinition } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { protoFile } from '../package-root.js';

/** `shoal.admin.v1` as the loader knows it, for the server, the client and reflection. */
export const adminPackage: PackageDefinition = loadSync(protoFile('admin.proto'), {
  longs: Number,
  defaults: true,
});

const loaded = loadPackageDefinition(adminPackage) as unknown as {
  shoal: { admin: { v1: { Admin: { service: ServiceDefinition } } } };
};

export const adminServiceName = 'shoal.admin.v1.Admin';
export const adminService: ServiceDefinition = loaded.shoal.admin.v1.Admin.service;
