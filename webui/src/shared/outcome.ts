/** How a session ended, for those who look at it afterwards. */

import type { SessionStatus } from '../gql/graphql'

export type Ended = {
  status: SessionStatus
  exitCode?: number | null
  statusReason?: { code: string } | null
}

/**
 * `error`: Berth could not do what was asked. `failed`: its program failed, or was too large. `done`: as was asked, or by
 * itself with success. `null`: it has not ended.
 */
export type Outcome = 'error' | 'failed' | 'done' | null

export function outcome({ status, exitCode, statusReason }: Ended): Outcome {
  if (status === 'ERROR') return 'error'
  if (status === 'CANCELLED') return 'done'
  if (status !== 'TERMINATED') return null
  // What was asked to end is killed in the end: its exit code then says nothing.
  const ownFault = statusReason?.code === 'EXITED' && Boolean(exitCode)
  const faults = ['OOM_KILLED', 'SUB_EXITED']
  return ownFault || faults.includes(statusReason?.code ?? '') ? 'failed' : 'done'
}
