/** Why a session waits, in the reader's language. */

import type { TFunction } from 'i18next'
import type { SessionRowFragment } from '../../gql/graphql'
import { bytes, moment } from '../../shared/format'

export type Reason = NonNullable<SessionRowFragment['pendingReason']>

/** `1.5 cpu`, `2 GiB`, `0.3 GPU`. */
export function quantity(slot: string, amount: string): string {
  if (slot === 'mem') return bytes(amount)
  return `${amount} ${slot.startsWith('cuda.') ? 'GPU' : slot}`
}

export function reasonText(t: TFunction, reason: Reason, language: string): string {
  switch (reason.__typename) {
    case 'LimitReached':
      return limitText(t, reason)
    case 'NoAgents':
      return reason.drainedAgents + reason.lostAgents
        ? t('reasons.nobodyWorks', { drained: reason.drainedAgents, lost: reason.lostAgents })
        : t('reasons.noAgents')
    case 'DesignatedAgentsUnavailable':
      return t('reasons.designated')
    case 'WrongArchitecture':
      return t('reasons.architecture', {
        accepted: reason.accepted.join(', '),
        available: reason.available.join(', '),
      })
    case 'NoAgentFits':
      return together(t, reason.unconnected, fitText(t, reason))
    case 'GangDoesNotFit':
      return together(
        t,
        reason.unconnected,
        reason.never
          ? t('reasons.gangNever', { kernels: reason.kernels, most: reason.atMost })
          : t('reasons.gang', { kernels: reason.kernels, fitting: reason.fitting }),
      )
    case 'Reserved':
      return t('reasons.reserved', { until: moment(reason.until, language) })
    case 'SchedulerFailed':
      return [t('reasons.scheduler', { plugin: reason.plugin }), reason.fault].filter(Boolean).join(' ')
    case 'StartsLater':
      return t('reasons.startsLater', { at: moment(reason.startsAt, language) })
    case 'RetryLater':
      return t('reasons.retryLater', { at: moment(reason.retryAt, language) })
    case 'WaitsForSessions':
      return t('reasons.waitsFor', { names: reason.waitsFor.map((one) => one.name).join(', ') })
  }
}

function together(t: TFunction, unconnected: boolean, text: string): string {
  return unconnected ? `${t('reasons.unconnected')} ${text}` : text
}

function limitText(t: TFunction, reason: Extract<Reason, { __typename: 'LimitReached' }>): string {
  if (reason.limit == null || reason.used == null) return t('reasons.hiddenLimit')
  const name = reason.holder && 'name' in reason.holder ? reason.holder.name : ''
  const whose = t(`limits.${reason.scope}`, { name })
  return reason.slot === 'sessions'
    ? t('reasons.sessionLimit', { whose, used: reason.used, limit: reason.limit })
    : t('reasons.limit', {
        whose,
        asked: quantity(reason.slot, reason.asked),
        used: quantity(reason.slot, reason.used),
        limit: quantity(reason.slot, reason.limit),
      })
}

function fitText(t: TFunction, reason: Extract<Reason, { __typename: 'NoAgentFits' }>): string {
  const asked = quantity(reason.slot, reason.asked)
  if (reason.onOneDevice) return t('reasons.oneDevice', { asked })
  if (reason.never) {
    const capacity = reason.largestCapacity ?? '0'
    return Number(capacity) < Number(reason.asked)
      ? t('reasons.tooLarge', { asked, capacity: quantity(reason.slot, capacity) })
      : t('reasons.tooMuchTogether')
  }
  return Number(reason.largestFree) < Number(reason.asked)
    ? t('reasons.tooFull', { asked, free: quantity(reason.slot, reason.largestFree) })
    : t('reasons.nearest', { asked, free: quantity(reason.slot, reason.nearestFree) })
}
