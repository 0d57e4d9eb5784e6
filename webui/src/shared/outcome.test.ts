import { expect, test } from 'vitest'
import { type Outcome, outcome } from './outcome'

const reason = (code: string) => ({ code })

test.each<[string, Parameters<typeof outcome>[0], Outcome]>([
  ['that runs', { status: 'RUNNING', exitCode: null, statusReason: null }, null],
  ['that is being ended', { status: 'TERMINATING', exitCode: null, statusReason: reason('REQUESTED') }, null],
  [
    'whose image cannot be had',
    { status: 'ERROR', exitCode: null, statusReason: reason('PULL_FAILED') },
    'error',
  ],
  ['whose program failed', { status: 'TERMINATED', exitCode: 7, statusReason: reason('EXITED') }, 'failed'],
  ['whose program is through', { status: 'TERMINATED', exitCode: 0, statusReason: reason('EXITED') }, 'done'],
  ['that was too large', { status: 'TERMINATED', exitCode: 0, statusReason: reason('OOM_KILLED') }, 'failed'],
  [
    'that was killed by wish',
    { status: 'TERMINATED', exitCode: 137, statusReason: reason('REQUESTED') },
    'done',
  ],
  ['that never ran', { status: 'CANCELLED', exitCode: null, statusReason: reason('REQUESTED') }, 'done'],
])('a session %s', (_, session, expected) => expect(outcome(session)).toBe(expected))
