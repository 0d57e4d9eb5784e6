import { useNavigate } from '@tanstack/react-router'
import { useMutation } from 'urql'
import { useScope } from '../../shared/scope'
import { CREATE } from './documents'
import { type Form, remember, request } from './form'
import type { Image } from './selection'
import { useIdempotencyKey } from './useIdempotencyKey'

/** Asks for the session, keeps the choices for the next time, and leads to its page. */
export function useLaunch() {
  const navigate = useNavigate()
  const { groupId, resourceGroupId } = useScope()
  const [{ fetching, error }, create] = useMutation(CREATE)
  const keyOf = useIdempotencyKey()

  async function launch(form: Form, image: Image | undefined) {
    if (!image || !groupId || !resourceGroupId) return
    remember({ ...form, language: image.language }, image.id)
    const input = request(form, { groupId, resourceGroupId, imageId: image.id })
    const { data } = await create({ input: { ...input, idempotencyKey: keyOf(input) } })
    if (data) await navigate({ to: '/sessions/$id', params: { id: data.createSession.session.id } as never })
  }

  return { launch, busy: fetching, error }
}
